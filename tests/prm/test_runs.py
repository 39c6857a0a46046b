"""`erprm train` again and again into one folder: killed, other settings, finished, two at once, NaN."""

import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
import torch
from attack.kill import Nursery
from prm.rows_of_steps import rows
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback, TrainerState

from erprm.cli import main
from erprm.errors import InputError
from erprm.files.writing import locked
from erprm.prm.training.config import PRMConfig
from erprm.prm.training.saving import newest_whole
from erprm.prm.training.trainer import PRMTrainer
from erprm.rows import write_rows

TRAIN = rows(8, 4)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy and rows."""
    folder = tmp_path_factory.mktemp("runs")
    tiny.save(folder / "policy")
    write_rows(folder / "rows.jsonl", TRAIN)
    return folder


def command(folder: Path, out: Path, **changed: str) -> list[str]:
    options = {"model": str(folder / "policy"), "data": str(folder / "rows.jsonl"), "out": str(out), "max-steps": "5",
               "save-steps": "1", "batch-size": "8", "learning-rate": "1e-3", **changed}
    return ["train", *(part for name, value in options.items() for part in (f"--{name}", value))]


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run. Do not write into it."""
    out = tmp_path_factory.mktemp("finished") / "prm"
    assert main(command(data, out)) == 0
    return out


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    with Nursery(tmp_path / "log", "erprm.cli.train", "erprm.prm.training.trainer") as warm:
        yield warm


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_killed_at_changes_of_files_it_ends_with_the_weights_of_an_undisturbed_run(
        data: Path, finished: Path, nursery: Nursery, tmp_path: Path) -> None:
    out = tmp_path / "prm"
    kills, change, steps = 0, 2, []
    while kills < 40:
        status = nursery.run(command(data, out), out, change)
        if status == 0:
            break
        assert status == -signal.SIGKILL, (tmp_path / "log").read_text()
        kills += 1
        newest, _ = newest_whole(out)
        steps.append(0 if newest is None else int(newest.name.split("-")[1]))
        change += 4
        assert not (out / "erprm.json").exists() or steps[-1] == 5, "the marker comes last"
    assert kills >= 8, kills
    assert steps == sorted(steps), "no whole checkpoint is lost"
    for name, weight in weights(finished).items():
        assert torch.equal(weights(out)[name], weight), name
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(("changed", "words"), [
    ({"eta": "10"}, "eta = 2.0 there, 10.0 asked for"), ({"target": "soft"}, "target = 'auto' there, 'soft' asked for"),
    ({"seed": "1"}, "seed = 0 there, 1 asked for"), ({"loss": "vocab"}, "loss = 'pair' there, 'vocab' asked for"),
    ({"max-steps": "6"}, "max_steps = 5 there, 6 asked for"), ({"data": "other"}, "data = "),
    ({"model": "other"}, "model = ")])
def test_another_run_is_not_gone_on_with(changed: dict[str, str], words: str, data: Path, finished: Path,
                                         tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if "data" in changed:
        write_rows(tmp_path / "rows.jsonl", TRAIN[:-1])
        changed = {"data": str(tmp_path / "rows.jsonl")}
    if "model" in changed:
        changed = {"model": str(tiny.save(tmp_path / "policy", seed=1))}
    capsys.readouterr()
    assert main(command(data, finished, **changed)) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert words in line


def test_a_finished_run_is_left_alone_and_saving_options_may_change(data: Path, finished: Path,
                                                                    capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    assert main(command(data, finished, **{"save-steps": "2"})) == 0
    assert capsys.readouterr().out == f"{finished}: this run is finished; nothing to do\n"
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


def test_a_damaged_checkpoint_is_passed_over_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = trainer(tmp_path, max_steps=3, save_strategy="steps", save_steps=1)
    run.train()
    (tmp_path / "checkpoint-3" / "optimizer.pt").write_bytes(b"x")
    (tmp_path / "checkpoint-2" / "whole.json").unlink()
    (tmp_path / "checkpoint-9").mkdir()
    newest, skipped = newest_whole(tmp_path)
    assert newest == tmp_path / "checkpoint-1"
    assert [line.split(": ")[1].split(",")[0] for line in skipped] == [
        "no whole.json", "optimizer.pt has 1 bytes instead of " + skipped[1].split("instead of ")[1].split(",")[0],
        "no whole.json"]
    again = trainer(tmp_path, max_steps=3, save_strategy="steps", save_steps=1)
    capsys.readouterr()
    again.train(resume_from_checkpoint=True)
    assert capsys.readouterr().err.count("skipped") == 3
    assert all(torch.equal(a, b) for a, b in zip(again.model.parameters(), run.model.parameters(), strict=True))


def test_a_disk_that_is_full_leaves_the_checkpoints_before(tmp_path: Path) -> None:
    run = trainer(tmp_path, max_steps=3, save_strategy="steps", save_steps=1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    class NoRoom(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, args: object, state: TrainerState, control: object, **_: object) -> None:
            if state.global_step == 2:
                resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))

    run.add_callback(NoRoom())
    try:
        with pytest.raises(OSError, match="could not write"):
            run.train()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert newest_whole(tmp_path) == (tmp_path / "checkpoint-2", [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-1", "checkpoint-2"]


def test_surplus_checkpoints_go_but_not_the_best(tmp_path: Path) -> None:
    run = trainer(tmp_path, max_steps=4, save_strategy="steps", save_steps=1, save_total_limit=2, eval_strategy="steps",
                  eval_steps=1, learning_rate=0.0, load_best_model_at_end=True)
    run.train()
    assert run.state.best_model_checkpoint == str(tmp_path / "checkpoint-1")
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == ["checkpoint-1", "checkpoint-4"]
    assert newest_whole(tmp_path) == (tmp_path / "checkpoint-4", [])


def test_a_checkpoint_of_another_loss_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path, max_steps=1, save_strategy="steps", save_steps=1).train()
    with pytest.raises(InputError, match="expected a checkpoint of"):
        trainer(tmp_path, loss="vocab", max_steps=2).train(resume_from_checkpoint=True)


def test_a_second_process_is_refused(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with locked(tmp_path / "prm"):
        assert main(command(data, tmp_path / "prm")) == 2
    assert "another process writes to it" in capsys.readouterr().err


@pytest.mark.parametrize("when", [0, 2])
def test_a_loss_that_is_no_number_ends_the_run(when: int, tmp_path: Path) -> None:
    run = trainer(tmp_path, max_steps=4, save_strategy="steps", save_steps=1)

    def poison(module: torch.nn.Module, _: object) -> None:
        if run.state.global_step == when:
            module.weight.data[0, 0] = torch.inf

    run._prm.score.register_forward_pre_hook(poison)
    with pytest.raises(InputError, match=rf"step {when + 1}: the loss is (nan|inf); nothing"):
        run.train()
    newest, skipped = newest_whole(tmp_path)
    assert (None if newest is None else newest.name, skipped) == (f"checkpoint-{when}" if when else None, [])


def test_weights_that_are_no_numbers_are_neither_trained_on_nor_saved(data: Path, tmp_path: Path) -> None:
    run = trainer(tmp_path / "prm", max_steps=1)
    run._prm.score.weight.data[0, 0] = torch.nan
    with pytest.raises(InputError, match=r"the weight score\.weight holds NaN"):
        run.train()
    with pytest.raises(InputError, match=r"the weight score\.weight holds NaN"):
        run.save_merged(tmp_path / "prm")
    assert not list((tmp_path / "prm").iterdir())
    policy = tiny.save(tmp_path / "policy")
    broken = weights(policy) | {"model.norm.weight": torch.full((64,), torch.nan)}
    save_file(broken, policy / "model.safetensors", metadata={"format": "pt"})
    assert main(command(data, tmp_path / "out", model=str(policy))) == 2
    assert not (tmp_path / "out" / "erprm.json").exists()


def trainer(folder: Path, **options: object) -> PRMTrainer:
    settings = {"per_device_train_batch_size": 8, "learning_rate": 1e-3, "report_to": "none", "disable_tqdm": True,
                "save_strategy": "no", "use_cpu": True, **options}
    return PRMTrainer(tiny.llama(), PRMConfig(str(folder), **settings), TRAIN, TRAIN, processing_class=tiny.tokenizer())
