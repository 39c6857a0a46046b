"""Scoring over Ray: two actors that hold a PRM each; the same scores as one process gives, one actor killed at work."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from erprm.cli import main
from erprm.errors import InputError
from erprm.prm.model import PRM
from erprm.prm.scoring.load import load_scorer
from erprm.prm.scoring.ray import RayScorer
from erprm.prm.scoring.scorer import PRMScorer
from erprm.prm.spec import PRMSpec
from erprm.rows import StepRow, read_rows, row_scores, write_rows

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("ray")]

ROWS = [StepRow(f"{one}+3*4?", ("3*4=12", f"{one}+12={one + 12 + other}"), solution_id=f"s{one}-{other}")
        for one in range(6) for other in range(5)]


@pytest.fixture(scope="module")
def prm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prm")
    tokenizer = tiny.tokenizer()
    PRM.from_base(tiny.llama(), tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_actors_score_as_one_process_does(local_ray: None, prm: Path) -> None:
    alone = PRMScorer(prm, device="cpu")
    wanted = alone.score(ROWS)
    scorer = load_scorer("ray:transformers", prm, engine_options={"actors": 2, "batch_rows": 4}, device="cpu")
    assert isinstance(scorer, RayScorer)
    done: list[int] = []
    for scores, expected in zip(scorer.score(ROWS, done.append), wanted, strict=True):
        np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert sorted(done) == [2, 4, 4, 4, 4, 4, 4, 4]
    assert (scorer.report.rows, scorer.report.tokens) == (alone.report.rows, alone.report.tokens)
    victim, survivor = scorer.processes()
    os.kill(victim, signal.SIGKILL)
    for scores, expected in zip(scorer.score(ROWS), wanted, strict=True):  # its batches go to the one that Ray starts
        np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert victim not in scorer.processes()
    assert survivor in scorer.processes()
    with pytest.raises(InputError, match=r"^row 131 \(long\): expected at most 1024 tokens"):
        scorer.score([*ROWS, StepRow("1?", ("1" * 1100,), solution_id="long")], first=100)
    scorer.close()
    with pytest.raises(InputError, match="closed"):
        scorer.score(ROWS)


def test_the_command_goes_on_with_parts_of_one_process(local_ray: None, prm: Path, tmp_path: Path,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    def command(name: str, *more: str) -> list[str]:
        return ["score", "--model", str(prm), "--rows", str(tmp_path / name), "--out", str(tmp_path / f"out-{name}"),
                "--part-rows", "10", "--device", "cpu", *more]

    over_ray = ("--engine", "ray:transformers", "--engine-options", "actors=1")
    write_rows(tmp_path / "long.jsonl", [*ROWS, StepRow("1?", ("1" * 1100,))])
    for engine in ((), over_ray):  # the second finds the three parts of the first, as of the same run
        assert main(command("long.jsonl", *engine)) == 2
        assert "long.jsonl: row 31: expected at most 1024 tokens" in capsys.readouterr().err
        assert len(list((tmp_path / "out-long.jsonl.parts" / "parts").glob("0*.jsonl"))) == 3
    write_rows(tmp_path / "rows.jsonl", ROWS)
    assert main(command("rows.jsonl", *over_ray)) == 0
    assert "scored now: 30 rows, 60 steps" in capsys.readouterr().err
    wanted = PRMScorer(prm, device="cpu").score(ROWS)
    for row, expected in zip(read_rows(tmp_path / "out-rows.jsonl"), wanted, strict=True):
        np.testing.assert_allclose(row_scores(row), expected, atol=1e-5)


def test_actors_score_every_eta_of_a_model_as_one_process_does(local_ray: None, tmp_path: Path) -> None:
    """All columns, and one that is asked for."""
    tokenizer = tiny.tokenizer()
    spec = PRMSpec(targets={"kind": "er", "eta": [0.5, 2.0, 10.0]})
    made = PRM.from_base(tiny.llama(), tokenizer, spec)
    torch.nn.init.normal_(made.score.weight)  # untrained, its rows for the three are equal
    made.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    wanted = PRMScorer(tmp_path, device="cpu", every=True).score(ROWS[:6])
    for options, columns in (({"every": True}, [0, 1, 2]), ({"eta": 10.0}, 2)):
        scorer = load_scorer("ray:transformers", tmp_path, engine_options={"actors": 1, "batch_rows": 4}, device="cpu",
                             **options)
        for scores, expected in zip(scorer.score(ROWS[:6]), wanted, strict=True):
            np.testing.assert_allclose(scores, expected[:, columns], atol=1e-5)
            assert len({*np.ravel(expected)}) == expected.size
        scorer.close()


def test_bad_options_are_said_before_ray_starts(prm: Path) -> None:
    for options, message in (({"actors": 0}, "actors: expected a whole number of at least 1 and at most 4096, found 0"),
                             ({"batch_rows": "x"}, "batch_rows: expected a whole number"),
                             ({"max_model_len": 8}, "vllm_options: expected none with the engine transformers")):
        with pytest.raises(InputError, match=message):
            load_scorer("ray:transformers", prm, engine_options=options)
