"""Bad options of every command: one clear line that names what is wrong, exit code 2, before a model is read or a file
is written.

The models of this table have no weights that could be loaded: a command that looked at them before its options would
name them instead.
"""

import json
import os
import pwd
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import tiny
from attack.counts import attempt
from prm.rows_of_steps import rows

from erprm.cli import COMMANDS, main
from erprm.prm.model import PRM
from erprm.problems import Problem, load_problems, write_problems
from erprm.rows import write_rows

ENDLESS = "[&a [x], " + ", ".join(  # nine times nine times nine ... texts, once it is written out
    f"&{name} [{', '.join(9 * ['*' + last])}]" for last, name in zip("abcdefghijk", "bcdefghijkl", strict=True)) + "]"
POLICY = ("--problems", "{}/problems.jsonl", "--policy", "{}/policy", "--device", "cpu")
GOOD: dict[str, tuple[str, ...]] = {
    "sft": ("--model", "{}/policy", "--data", "{}/rows.jsonl", "--out", "{}/new"),
    "sample": (*POLICY, "--out", "{}/new.jsonl"),
    "label": (*POLICY, "--solutions", "{}/rows.jsonl", "--out", "{}/new"),
    "judge": (*POLICY, "--judge", "llm", "--rows", "{}/rows.jsonl", "--out", "{}/new.jsonl"),
    "filter": ("--rows", "{}/rows.jsonl", "--consensus", "{}/verdicts.jsonl", "--out", "{}/new.jsonl"),
    "train": ("--model", "{}/policy", "--data", "{}/rows.jsonl", "--out", "{}/new"),
    "score": ("--model", "{}/prm", "--rows", "{}/rows.jsonl", "--out", "{}/new.jsonl"),
    "evaluate": ("--out", "{}/new"),
    "raft": ("--policy", "{}/policy", "--prm", "{}/prm", "--solutions", "{}/rows.jsonl", "--out", "{}/new"),
    "grade": ("--rows", "{}/rows.jsonl", "--problems", "{}/problems.jsonl", "--out", "{}/new.jsonl"),
    "guide": (*POLICY, "--prm", "{}/prm", "--out", "{}/new.jsonl"),
    "convert": ("--input", "{}/rows.jsonl", "--from", "erprm", "--to", "erprm", "--out", "{}/new.jsonl"),
    "export": ("--model", "{}/prm", "--out", "{}/new"),
    "audit": ("--input", "{}/rows.jsonl", "--graders", "math", "numeric", "--out", "{}/new.jsonl"),
    "doctor": ("--model", "{}/policy", "--data", "{}/rows.jsonl"),
    "bench": ("--run", "ledger", "--smoke", "--out", "{}/new.json"),
    "profile": ("train", "--model", "{}/policy", "--data", "{}/rows.jsonl", "--out", "{}/new"),
    "demo": ("--out", "{}/new"),
    "serve": ("--model", "{}/prm"),
    "dpo": ("--policy", "{}/policy", "--prm", "{}/prm", "--solutions", "{}/rows.jsonl", "--out", "{}/new"),
    "grpo": ("--policy", "{}/policy", "--prm", "{}/prm", "--problems", "{}/problems.jsonl", "--out", "{}/new"),
    "search-bench": (*POLICY, "--prm", "{}/prm", "--out", "{}/new"),
    "study": ("--out", "{}/new"),
}
NUMBERS = {
    "sft": ("--batch-size 0", "--batch-size -1", "--epochs 0", "--epochs nan", "--learning-rate -1",
            "--learning-rate nan", "--schedule x", "--max-length 0", "--max-steps x", "--report-to nosuch"),
    "sample": ("--n 0", "--n -1", "--n x", "--limit 0", "--limit -1", "--max-tokens 0", "--temperature -1",
               "--temperature nan", "--temperature inf", "--top-p 0", "--top-p 2", "--top-p nan", "--workers 0",
               "--workers -3", "--timeout 0", "--timeout nan", "--timeout -1", "--engine x", "--engine-options x",
               "--prompt x", "--splitter x", "--part-completions 0", "--part-completions -1", "--prompt-text none",
               "--stop", "--answer x", "--answer-pattern (", "--answer-pattern x", "--tokens-per-second 0",
               "--engine-options foo=1", "--engine-options a=[", "--engine-options =1", "--engine-options model=x",
               "--engine ray:transformers --engine-options foo=1", "--device cuda:99", "--device mps", "--dtype x",
               "--n 99999999999999999999", "--seed -1", "--seed 99999999999", "--workers 100000000",
               *(f"--engine-options {value}" for value in (
                   "batch_rows=0", "batch_rows=-1", "batch_rows=x", "batch_rows=1.5", "batch_rows=true",
                   "batch_rows=99999999999999999999", "prefill_tokens=null", "prefill_tokens=[1]", "device=cuda:99",
                   "device=5", "revision=5", "dtype=x")),
               *(f"--engine ray:transformers --engine-options {value}" for value in (
                   "actors=0", "actors=x", "actors=1.5", "actors=99999999", "cpus=-1", "cpus=.nan", "gpus=x", "gpus=-1",
                   "retries=-2", "address=5", "batch_requests=0", "batch_rows=0", "device=x"))),
    "label": ("--n 0", "--n -1", "--limit -1", "--rmse nan", "--rmse -1", "--rmse 0", "--width 0", "--level 0",
              "--level 1.5", "--level nan", "--n-min -1", "--n-max 0", "--n-step 0", "--token-budget -1",
              "--contrast -1", "--eta nan", "--n-step 5",
              "--n-min 2", "--engine-options foo=1", "--temperature nan", "--part-completions 0", "--workers 0"),
    "judge": ("--judge x", "--votes 0", "--votes -1", "--malformed 2", "--malformed nan", "--temperature nan",
              "--max-tokens 0", "--verdict-pattern (", "--verdict-pattern x"),
    "filter": ("--distance -1", "--confidence 0", "--confidence 2", "--confidence nan"),
    "train": ("--batch-size 0", "--batch-size -1", "--batch-size x", "--accumulation 0", "--epochs 0",
              "--epochs -1", "--epochs nan", "--epochs inf", "--learning-rate nan", "--learning-rate -1",
              "--learning-rate inf", "--schedule x", "--warmup -1", "--warmup nan", "--weight-decay nan",
              "--weight-decay -1", "--dtype x", "--lora-rank -1", "--deepspeed {}/none.json", "--evaluations 0",
              "--evaluations -1", "--save-steps 0", "--save-steps -1", "--patience 2", "--patience -1",
              "--target x", "--target er --eta nan", "--target er --eta inf", "--target hard --threshold nan",
              "--horizon -1", "--td-weight nan", "--epsilon nan", "--max-length 0", "--max-length -1", "--loss x",
              "--concentration 0", "--concentration nan", "--too-long x", "--layout x", "--length-window -1",
              "--eval {}/none.jsonl", "--tag abc", "--tag", "--report-to nosuch", "--eval {}/empty.jsonl",
              "--eval {}/problems.jsonl", "--deepspeed {}/rows.jsonl", "--deepspeed {}/config.json",
              "--estimator x", "--seed x"),
    "score": ("--part-rows 0", "--part-rows -1", "--batch-tokens 0", "--batch-tokens -1", "--max-length 0",
              "--max-length -1", "--form x", "--dtype x", "--engine x", "--engine-options x=1", "--too-long x",
              "--device cuda:x", "--device x", *(f"--engine ray:transformers --engine-options {value}" for value in (
                  "actors=0", "actors=99999999", "batch_rows=x", "cpus=-1", "gpus=x", "retries=-2", "address=5"))),
    "evaluate": ("--scored {}/none.jsonl", "--scored {}/rows.jsonl --ns 0", "--scored {}/rows.jsonl --ns x",
                 "--scored {}/text.jsonl", "--scored {}/scores_as_text.jsonl", "--processbench {}/rows.jsonl",
                 "--processbench {}/rows.jsonl --scores {}/text.jsonl", "--scored {}/rows.jsonl --eta nan",
                 "--scored {}/rows.jsonl --size 0", "--scored {}/rows.jsonl --size -1",
                 "--scored {}/rows.jsonl --weigh-by x", "--scored {}/rows.jsonl --scores-are x",
                 "--scored {}/rows.jsonl --aggregate x", "--development 1", "--development nan",
                 "--processbench {}/none.jsonl --prm {}/prm",
                 "--scored {}/rows.jsonl --export {}/rows.jsonl",
                 "--threshold nan --processbench {}/rows.jsonl --prm {}/prm", ""),
    "raft": ("--objective x", "--minimum nan", "--margin -1", "--margin nan", "--beta 0", "--beta nan",
             "--epochs 0", "--warmup-steps -1", "--batch-size 0", "--aggregate x"),
    "grade": ("--grader judge:{}/rows.txt --judge-policy {}/policy --judge-store {}/new --judge-engine-options "
              "batch_rows=0", "--judge-store {}/rows.txt", "--workers 0", "--timeout 0",
              "--from x", "--answer-pattern (", "--problems {}/none.jsonl"),
    "guide": ("--width 0", "--expand 0", "--trees 0", "--method guided --trees 0", "--method smc --particles 0",
              "--max-steps 0", "--max-steps -1", "--method smc --eta nan", "--method guided --eta inf",
              "--part-problems 0", "--limit 0", "--limit -1", "--method x", "--aggregate x", "--width -1"),
    "convert": ("--from x", "--to x", "--trials 0 --from math-aps", "--threshold nan", "--target er --eta nan",
                "--to trl --from trl", "--out {}/new.jsonl.gz", "--out {}/pipe", "--input {}/pipe",
                "--to math-shepherd --threshold x", "--splitter x", "--neutral x"),
    "export": ("--to x", "--probe 0", "--probe -1", "--rows {}/none.jsonl"),
    "audit": ("--graders math", "--graders x y", "--graders python:os:system math python:x", "--show -1",
              "--workers 0", "--text-field nosuch", "--gold-field nosuch", "--problems {}/none.jsonl"),
    "doctor": ("--samples -1", "--eta nan --target er", "--max-length 0", "--eval {}/none.jsonl", "--tag abc"),
    "bench": ("--run x", "--compare {}/none.json {}/none.json", "--compare {}/text.jsonl {}/text.jsonl"),
    "profile": ("--batch-size 0", "--layout x", "--device x", "--repeats 0", "--tags 0"),
    "serve": ("--host 192.0.2.1", "--host a..b", "--host ::g", "--host 127.0.0.1:80", "--host /tmp",
              "--port 99999", "--port -1", "--port x", "--max-length 0", "--device x", "--model {}/none/model"),
    "dpo": ("--pairs x", "--margin -1", "--margin nan", "--beta 0", "--beta nan", "--epochs 0", "--warmup-steps -1",
            "--batch-size 0", "--aggregate x"),
    "grpo": ("--limit 0", "--temperature nan", "--outcome-weight nan", "--workers 0", "--learning-rate nan"),
    "search-bench": ("--limit 0", "--limit -1", "--temperature nan", "--workers 0", "--expand 0"),
    "demo": ("--seeds 0", "--seeds -1", "--task x", "--pool 0", "--completions 0", "--heldout-problems 0",
             "--solutions 0", "--prm-steps 0", "--seed -1", "--seed 99999999999"),
    "study": ("--targets x", "--targets er@nan", "--targets er@", "--targets soft@2", "--targets soft er@2:x",
              "--reference x", "--only x", "--policy-seeds -1", "--policy-seeds 1 1", "--etas nan", "--pool 1"),
}
INPUTS = {"dpo": "--solutions", "grpo": "--problems", "sft": "--data", "sample": "--problems",
          "label": "--solutions", "judge": "--rows", "filter": "--rows", "train": "--data", "score": "--rows",
          "raft": "--solutions", "grade": "--rows", "guide": "--problems", "convert": "--input", "audit": "--input",
          "doctor": "--data", "profile": "--data"}
MODELS = {"dpo": "--policy", "grpo": "--policy", "sft": "--model", "sample": "--policy", "label": "--policy",
          "judge": "--policy", "train": "--model", "score": "--model", "raft": "--policy", "guide": "--policy",
          "export": "--model", "doctor": "--model", "profile": "--model"}


def _table() -> list[tuple[str, str]]:
    table = [(command, bad) for command, options in NUMBERS.items() for bad in options]
    for command, option in INPUTS.items():
        table += [(command, f"{option} {{}}/{name}") for name in
                  ("none.jsonl", "policy", "empty.jsonl", "text.jsonl", "bytes.jsonl", "bytes.parquet")]
    for command, option in MODELS.items():
        table += [(command, f"{option} {{}}/{name}") for name in ("none/model", "rows.jsonl", "empty")]
    for command, words in GOOD.items():
        if "--out" not in words:
            continue
        outputs = ["{}/rows.jsonl/below", "/proc/version/x.jsonl", ".", "/", "{}/.."]
        if words[words.index("--out") + 1].endswith(".jsonl"):
            outputs += ["{}/policy"] if command in ("convert", "audit") else ["{}/policy", "{}/new.txt", "{}/new"]
            outputs += ["{}/problems.jsonl"] if command in ("sample", "guide") else ["{}/rows.jsonl"]
        table += [(command, f"--out {value}") for value in outputs]
    table += [(command, bad) for command in COMMANDS for bad in ("--nosuch 1", *(
        f"--config {{}}/{name}.yaml" for name in ("none", "folder", "number", "other", "list", "torn", "bytes")))]
    return table + [("sample", f"--problems {source}") for source in (
        "reasoning-gym:nosuch", "reasoning-gym:countdown?size=0", "reasoning-gym:countdown?size=-1",
        "reasoning-gym:countdown?size=x", "reasoning-gym:countdown?nosuch=1", "gsm8k:{}/none", "nosuch:x",
        "{}/problems.jsonl?grader=nosuch", "{}/problems.jsonl?nosuch=1")]


TABLE = _table()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good inputs, broken ones, and models without weights."""
    folder = tmp_path_factory.mktemp("options")
    tiny.save(folder / "policy")
    PRM.from_base(tiny.llama(), tiny.tokenizer()).save_pretrained(folder / "prm")
    tiny.tokenizer().save_pretrained(folder / "prm")
    for model in ("policy", "prm"):
        weights = folder / model / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:5000])
    write_rows(folder / "rows.jsonl", rows(2, 2))
    write_problems(folder / "problems.jsonl", [Problem(id="p0", question="1+1?", answer="2")])
    (folder / "verdicts.jsonl").write_text('{"solution_id": "x", "first_error": -1}\n', encoding="utf-8")
    (folder / "rows.txt").write_bytes((folder / "rows.jsonl").read_bytes())
    (folder / "empty").mkdir()
    (folder / "folder.yaml").mkdir()
    (folder / "empty.jsonl").touch()
    (folder / "text.jsonl").write_text("no JSON\n", encoding="utf-8")
    (folder / "scores_as_text.jsonl").write_text(json.dumps(
        {"prompt": "q", "steps": ["a"], "outcome": 1.0, "problem_id": "p", "scores": ["0.5"]}) + "\n", encoding="utf-8")
    for suffix in ("jsonl", "parquet", "yaml"):
        (folder / f"bytes.{suffix}").write_bytes(b"\xff\xfe\x00\x01" * 40)
    (folder / "number.yaml").write_text("1:\n", encoding="utf-8")
    (folder / "other.yaml").write_text("nosuch: 1\n", encoding="utf-8")
    (folder / "list.yaml").write_text("- 1\n", encoding="utf-8")
    (folder / "config.json").write_text("{}", encoding="utf-8")
    os.mkfifo(folder / "pipe")
    (folder / "torn.yaml").write_text("a: [1\n", encoding="utf-8")
    return folder


def _files(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*") if not path.name.startswith("."))


def _words(command: str, bad: str, place: Path) -> list[str]:
    return [word.format(place) for word in (command, *GOOD[command], *bad.split())]


@pytest.fixture
def refused(place: Path, capfd: pytest.CaptureFixture[str]) -> Callable[[list[str]], str]:
    before = _files(place)

    def run(words: list[str]) -> str:
        capfd.readouterr()
        code = main(words)
        shown = capfd.readouterr()
        assert code == 2, (words, code, shown)
        assert "Traceback" not in shown.err, words
        said = [line for line in shown.err.splitlines() if line.startswith("erprm")]
        assert _files(place) == before, words
        if words[0] == "doctor" and not said:
            return shown.out  # it lists what it found
        assert len(said) == 1, (words, shown.err)
        assert "error:" in said[0]
        return said[0]
    return run


@pytest.mark.parametrize("command", list(COMMANDS))
def test_bad_options_are_one_line_before_anything_is_done(command: str, refused: Callable[[list[str]], str],
                                                          place: Path) -> None:
    cases = [bad for of, bad in TABLE if of == command]
    assert len(cases) >= 8
    for bad in cases:
        with attempt("bad options"):
            line = refused(_words(command, bad, place))
            assert command == "doctor" or "model.safetensors" not in line, (bad, line)


@pytest.mark.parametrize(("recipe", "words"), [
    ('{problems: p, policy: p, out: "a\\0b.jsonl"}', "out: expected a text without zeros, found 'a\\x00b.jsonl'"),
    ('{out: x.jsonl, policy: p, problems: "a\\0b"}', "problems: expected a text without zeros"),
    (f"n: {ENDLESS}", "n: expected int, found [["), (f"{{n: {{x: {ENDLESS}}}}}", "unknown section 'n'"),
    (f"stop: {ENDLESS}", "stop: expected str, found ["), ("n: 2020-01-01", "n: expected int, found datetime.date"),
    ("n: !!python/object:os.system {}", "not valid YAML"), ("n: " + "9" * 5000, "not valid YAML")])
def test_a_recipe_of_strange_values_is_one_line(recipe: str, words: str, refused: Callable[[list[str]], str],
                                                tmp_path: Path) -> None:
    (tmp_path / "strange.yaml").write_text(recipe, encoding="utf-8")
    assert words in refused(["sample", "--config", str(tmp_path / "strange.yaml")])


def test_an_address_that_is_taken_is_said_before_the_model_is_read(refused: Callable[[list[str]], str], place: Path,
                                                                   ) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refused(_words("serve", f"--port {port}", place))
        assert f"--host 127.0.0.1 --port {port}: expected an address to listen at, found: " in line
    assert "0.0.0.0 stands for all" in refused([*_words("serve", "", place), "--host", ""])


@contextmanager
def bound_by_modes() -> Iterator[None]:
    """As a user whom the modes of files bind: nobody, where this is root."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize("command", [name for name, words in GOOD.items() if "--out" in words])
def test_where_nothing_may_be_written_is_said_first(command: str, place: Path, capfd: pytest.CaptureFixture[str],
                                                    ) -> None:
    words = _words(command, "", place)
    name = Path(words[words.index("--out") + 1]).name
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "new").mkdir(mode=0o555)
        os.chmod(folder, 0o555)
        for out in [f"{folder}/{name}", *([f"{folder}/below/{name}"] if command != "export" else [])]:
            with attempt("read-only folders"), bound_by_modes():
                assert main([*words, "--out", out]) == 2
            [line] = capfd.readouterr().err.splitlines()
            assert line.startswith(f"erprm {command}: error: out: expected a place where this user may write"), line
        os.chmod(folder, 0o755)


def test_a_terminal_without_the_characters_shows_their_codes(place: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    words = ["audit", "--input", "ряды.jsonl", "--out", str(place / "new.jsonl")]
    done = subprocess.run([sys.executable, "-m", "erprm", *words], env=environment, capture_output=True, text=True,
                          check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "\\u0440\\u044f\\u0434\\u044b.jsonl: no such file" in done.stderr


def test_output_that_nobody_takes_is_one_line(place: Path) -> None:
    command = f"{sys.executable} -m erprm demo --dry-run > /dev/full"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "No space left on device" in done.stderr


def test_a_limit_is_all_that_is_made_of_a_large_set() -> None:
    assert len(load_problems("reasoning-gym:countdown?size=99999999999", limit=1)) == 1
