"""What docs/switching.md tells users of other trainers works as printed, on files in their formats."""

import re
import shlex
from pathlib import Path

import pytest
import tiny

from erprm import formats
from erprm.cli import main
from erprm.rows import StepRow, read_rows

TEXT = (Path(__file__).parents[1] / "docs" / "switching.md").read_text(encoding="utf-8")
FILES = {"trl.jsonl": "trl", "openrlhf.jsonl": "openrlhf", "rlhflow.jsonl": "rlhflow", "er-prm.jsonl": "er-prm",
         "shepherd.jsonl": "math-shepherd"}
ROWS = [StepRow(f"{a}+1?", (f"Step 1: {a}+1={a + 1}", f"Step 2: The answer is {a + 1}"), labels=(1.0, float(a % 2)))
        for a in range(8)]


@pytest.mark.slow
def test_each_way_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.save(tmp_path / "models" / "policy")
    for name, form in FILES.items():
        formats.write(tmp_path / name, form, ROWS)
    lines = "".join(re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)).strip().splitlines()
    for words in map(shlex.split, lines):
        assert words[0] == "erprm"
        assert main(words[1:]) == 0, "".join(capsys.readouterr())
        if words[1] == "convert":
            rows = list(read_rows(words[words.index("--out") + 1]))
            assert [row.labels for row in rows] == [row.labels for row in ROWS], words
    names = {"train_dataset": [{"prompt": row.prompt, "completions": list(row.steps), "labels": list(row.labels or ())}
                               for row in ROWS]}
    for code in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(compile(code, "switching.md", "exec"), names)
    assert (tmp_path / "prm" / "erprm.json").is_file()
