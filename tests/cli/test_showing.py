r"""--show and --dry-run: what the policy sees as tokens, what it writes as steps, how fast; `\n` in text options."""

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import tiny

from erprm.cli import main
from erprm.engines import Completion, Request, Sampling
from erprm.engines.prompts import PromptTemplate
from erprm.engines.rate import measure


@pytest.fixture
def sample(tmp_path: Path, model_dir: Path) -> list[str]:
    problems = tmp_path / "problems.jsonl"
    problems.write_text("".join(json.dumps(
        {"id": name, "question": f"{name}+1?\x1b[31m", "answer": "2", "solution": "1+1=2\n\nThe answer is 2"}) + "\n"
        for name in "123"))
    return ["sample", "--problems", str(problems), "--policy", str(model_dir), "--device", "cpu", "--out",
            str(tmp_path / "out.jsonl"), "--workers", "1", "--max-tokens", "8"]


def shown_ids(text: str) -> list[list[int]]:
    """The token ids of each prompt in what was printed; the pieces of these prompts are no numbers but 1, 2 and 3."""
    prompts = re.findall(r"prompt, (\d+) tokens \(plain\):\n((?:  .*\n)+)", text)
    found = [[int(pair.split(" ")[0]) for pair in re.split(r"  +", block.replace("\n", "  ").strip())]
             for _, block in prompts]
    assert [len(ids) for ids in found] == [int(count) for count, _ in prompts]
    return found


def test_a_dry_run_shows_prompts_references_and_this_machines_rate(sample: list[str], tmp_path: Path,
                                                                   capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*sample, "--dry-run", "--show", "--prompt-text", r"Q: {question}\nA:", "--splitter", "auto"]) == 0
    shown = capsys.readouterr().out
    template = PromptTemplate(text="Q: {question}\nA:")
    assert shown_ids(shown) == [template.ids(tiny.tokenizer(), f"{name}+1?\x1b[31m", "") for name in "12"]
    assert "reference solution to 2, 2 steps by paragraph:\n    1 |1+1=2\\n\\n|\n    2 |The answer is 2|" in shown
    assert "reference solution to 3" not in shown
    assert re.search(r"about \S+ seconds at [\d,]+ tokens/s, measured here with \d at once, with transformers", shown)
    assert "what the policy began to write, " in shown
    assert "\x1b" not in shown
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(("options", "said"), [
    (["--engine", "vllm"], "time unknown: the rate of vllm"),
    (["--policy", "OWNER/NAME"], "time unknown: the rate of transformers with OWNER/NAME"),
    (["--tokens-per-second", "8"], "about 3 seconds at 8 tokens/s"),
])
def test_a_rate_that_is_not_measured(options: list[str], said: str, sample: list[str],
                                     capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*sample, "--dry-run", *options]) == 0
    assert said in capsys.readouterr().out


def test_label_shows_what_the_policy_continues(sample: list[str], tmp_path: Path,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    label = ["label", *sample[1:sample.index("--out")], "--out", str(tmp_path / "labels"), "--dry-run", "--show", "1"]
    assert main(label) == 0
    shown = capsys.readouterr().out
    assert shown_ids(shown) == [PromptTemplate().ids(tiny.tokenizer(), "1+1?\x1b[31m", "1+1=2\n\n")]
    assert "solution 1/reference, 2 steps by paragraph:" in shown
    assert re.search(r"measured here with \d+ at once", shown)


def test_sample_shows_what_was_written(sample: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*sample, "--show", "1", "--n", "2"]) == 0
    shown = capsys.readouterr().out
    assert len(shown_ids(shown)) == 1
    assert re.search(r"solution 1/0, \d+ steps by newline:\n    1 \|", shown)
    assert shown.isascii() or all(char.isprintable() or char == "\n" for char in shown)


@pytest.mark.parametrize(("given", "meant"), [
    (r"{question}\nA:", "{question}\nA:"), (r"{question}\\neq", r"{question}\neq"), (r"{question}\boxed", None),
    ("{question}\n", None)])
def test_line_breaks_of_text_options(given: str, meant: str | None) -> None:
    from erprm.cli import config
    from erprm.cli.sample import Config

    parser = config.Parser()
    config.add_arguments(parser, Config)
    command = ["--problems", "p", "--policy", "m", "--out", "o", "--prompt-text", given, "--stop", r"\n\n", "x"]
    read = config.load(Config, "sample", config.parse(parser, command), None, ["sample"])
    assert read.prompt_text == (meant or given)
    assert read.stop == ("\n\n", "x")


class Recorder:
    """Writes at once, as many tokens as it may."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def fingerprint(self) -> dict[str, str]:
        return {}

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        self.calls.append((sum(request.n for request in requests), sampling.max_tokens))
        return [[Completion("so", "length", sampling.max_tokens)] * request.n for request in requests]

    def close(self) -> None:
        pass


def test_a_rate_is_measured_with_as_many_at_once_and_as_long_as_asked() -> None:
    engine = Recorder()
    rate = measure(engine, [Request("a", "", 6, 0), Request("b", "", 4, 1)], Sampling(max_tokens=10), math.inf)
    assert engine.calls == [(1, 4), (4, 4), (10, 4), (10, 8), (10, 10)]
    assert (rate.rows, rate.text) == (10, "so")
    measure(engine := Recorder(), [Request("a", "", 1000, 0)], Sampling(max_tokens=4), math.inf)
    assert engine.calls[-1] == (256, 4)
