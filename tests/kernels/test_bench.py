"""`erprm bench --compare` and `erprm profile` as a user runs them, and the result file's round trip."""

import json
from pathlib import Path

import pytest
import tiny

from erprm.cli import main
from erprm.prm.model import PRM
from erprm.rows import StepRow, write_rows


def result(path: Path, seconds: float, **extra: object) -> str:
    record = {"bench": "head", "provider": "erprm", "mode": "both", "shape": {"M": 3}, "dtype": "float32",
              "device": "cpu",
              "p20": seconds * 0.9, "p50": seconds, "p80": seconds * 1.1, "error": None, **extra}
    path.write_text(json.dumps({"environment": {}, "results": [record]}))
    return str(path)


def test_compare_prints_only_what_changed_beyond_noise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = result(tmp_path / "a.json", 1.0)
    assert main(["bench", "--compare", before, result(tmp_path / "b.json", 1.1)]) == 0
    assert capsys.readouterr().out == "1 unchanged within noise, 0 differ\n"
    main(["bench", "--compare", before, result(tmp_path / "c.json", 2.0)])
    assert "2.00 x slower: head, M=3, float32, cpu, both, erprm: 1000 ms -> 2000 ms" in capsys.readouterr().out
    main(["bench", "--compare", before, result(tmp_path / "d.json", 1.0, p50=None, error="out of memory")])
    assert "failed after: head, M=3, float32, cpu, both, erprm: out of memory" in capsys.readouterr().out
    main(["bench", "--compare", before, result(tmp_path / "e.json", 1.0, bench="other")])
    assert "only before: head" in capsys.readouterr().out


def test_run_hands_its_flags_to_the_script(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    assert main(["bench", "--run", "ledger", "--smoke", "--output", str(path)]) == 0
    records = json.loads(path.read_text())["results"]
    assert {record["provider"] for record in records} == {"erprm", "plain Python"}


def test_every_provider_of_whole_training_steps_runs(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    assert main(["bench", "--run", "train_step", "--smoke", "--output", str(path)]) == 0
    failed = {record["provider"]: record["error"] for record in json.loads(path.read_text())["results"]
              if record["error"] is not None}
    assert failed == {"liger": "RuntimeError: Liger's kernels run on CUDA only"}


@pytest.mark.parametrize(("arguments", "message"), [
    (["--compare", "missing.json", "missing.json"], "missing.json: no such file"),
    ([], "expected either --compare"),
])
def test_bad_input_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_profile_writes_a_trace_and_a_table(tmp_path: Path) -> None:
    assert main(["profile", "--step", "step_loss", "--tags", "8", "--width", "16", "--repeats", "1", "--output",
                 str(tmp_path)]) == 0
    assert json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert "erprm::step_loss_targets" in (tmp_path / "kernels.txt").read_text()


def test_profile_of_training_and_scoring(model_dir: Path, tmp_path: Path) -> None:
    """The user's model and rows: each phase has a line whose times add up, and each block of the trunk."""
    rows = [StepRow(f"What is {i} + 1?", (f"Add {i}.", "So it is."), successes=(i % 5, 2), trials=(4, 4),
                    problem_id=str(i)) for i in range(8)]
    write_rows(tmp_path / "rows.jsonl", rows)
    out = tmp_path / "profile"
    flags = ["--data", str(tmp_path / "rows.jsonl"), "--out", str(out), "--repeats", "1"]
    assert main(["profile", "train", "--model", str(model_dir), "--batch-size", "4", *flags]) == 0
    assert json.loads((out / "trace.json").read_text())["traceEvents"]
    lines = (out / "kernels.txt").read_text().splitlines()
    assert "4 rows" in lines[0]
    begin = next(place for place, line in enumerate(lines) if line.startswith("phase"))
    found = {}
    for line in lines[begin + 1 : lines.index("", begin)]:
        name, value, share = line.rsplit(maxsplit=2)
        found[name] = (float(value), float(share.rstrip("%")))
    assert set(found) == {"collate", "copy", "forward", "block 00", "block 01", "head and loss", "backward",
                          "optimiser"}
    whole = sum(found[name][1] for name in ("collate", "copy", "forward", "backward", "optimiser"))
    assert 0 < whole <= 101  # what lies between the phases is as long as a busy machine makes it
    assert found["block 00"][0] + found["block 01"][0] + found["head and loss"][0] <= found["forward"][0] * 1.01
    assert any("mm" in line for line in lines)
    PRM.from_base(model_dir, tiny.tokenizer()).save_pretrained(tmp_path / "prm")
    tiny.tokenizer().save_pretrained(tmp_path / "prm")
    assert main(["profile", "score", "--model", str(tmp_path / "prm"), *flags]) == 0
    assert "rows/s" in (out / "kernels.txt").read_text()
    assert main(["profile", "train", "--model", str(model_dir), "--repeats", "1"]) == 2
