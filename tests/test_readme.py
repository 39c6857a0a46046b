"""Every command and every line of Python in the README works as printed; every file that it names is there."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

from erprm.cli import main
from erprm.policy.sft import SFTOptions, train_sft
from erprm.rows import StepRow

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.slow
def test_commands_and_drop_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                              capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    lessons = [StepRow(f"{a}+1?", (f"{a}+1={a + 1}", f"The answer is {a + 1}")) for a in range(8)]
    train_sft(tiny.save(tmp_path / "untrained"), lessons, tmp_path / "models" / "policy",
              SFTOptions(max_steps=80, batch_size=8, learning_rate=5e-3, warmup_steps=1))
    capsys.readouterr()
    (tmp_path / "problems.jsonl").write_text("".join(
        json.dumps({"id": str(a), "question": f"{a}+1?", "answer": str(a + 1)}) + "\n" for a in range(3)))
    for command in "".join(blocks("sh")).strip().splitlines():
        words = shlex.split(command)
        assert words[0] == "erprm"
        code = main(words[1:])
        assert code == 0, "".join(capsys.readouterr())
    trl_rows = [{"prompt": "1+1?", "completions": ["1+1=2", "The answer is 2"], "labels": [1.0, 0.7]}] * 8
    names = {"train_dataset": trl_rows}
    for code in blocks("python"):
        exec(compile(code, "README.md", "exec"), names)
    assert (tmp_path / "models" / "prm-from-labels" / "erprm.json").is_file()
    assert (tmp_path / "models" / "prm-causal-lm" / "serve.sh").is_file()


def test_named_files_are_there() -> None:
    for target in re.findall(r"\]\(((?!http)[^)]+)\)", TEXT) + re.findall(r"--config (recipes/\S+\.yaml)", TEXT):
        assert (ROOT / target).is_file(), target


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for name in re.findall(r"make ([a-z]+)", TEXT):
        assert re.search(rf"^{name}:", makefile, re.MULTILINE), name


def test_the_serving_line_is_that_of_the_exported_script(tmp_path: Path) -> None:
    from erprm.prm.scoring.vllm import serve_script

    text = (ROOT / "docs" / "scoring.md").read_text(encoding="utf-8")
    line = re.search(r"python -m vllm.*?--dtype \w+\n", text, re.DOTALL)
    assert line is not None
    printed = shlex.split(line[0].replace("\\\n", " ").replace("TAG", "7").replace("bfloat16", "float32"))
    ours = shlex.split(serve_script(tiny.save(tmp_path / "model"), 7, ("Ġ+", "Ġ-")).splitlines()[-1])
    assert printed[3:5] == ["--model", "runs/prm-causal-lm"]
    assert printed[5:] == [word for word in ours[6:] if word not in ("$flags", "$@")]


def test_its_figures_are_those_of_the_result_files() -> None:
    done = subprocess.run([sys.executable, "bench/readme.py", "--check"], cwd=ROOT, check=False)
    assert done.returncode == 0, "run: python bench/readme.py"
