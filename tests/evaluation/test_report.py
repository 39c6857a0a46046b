"""The report says what the numbers say, shows every part, and needs nothing but itself."""

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import synthetic_run

from erprm.evaluation.curves import Pool, accuracy_curves, compare
from erprm.evaluation.findings import findings
from erprm.evaluation.report import write_report


class Page(HTMLParser):
    """Collects tags, attributes and text, and checks that tags nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href") and value]
        if tag not in ("meta", "br", "link", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_report_is_one_file_with_every_part(tmp_path: Path) -> None:
    results, examples, calibrations, paired = synthetic_run.run()
    path = write_report(results, tmp_path / "demo", examples=examples, calibration=calibrations, paired=paired)
    page = Page(path.read_text())
    assert page.open == []
    assert page.links == []  # nothing is fetched from anywhere
    assert "script" not in page.tags
    assert page.tags.count("svg") == 2
    for part in ("ER, η = 2", "weighted majority", "192/2=96", "9/16", "Use <b>5, 5, 9 & 3</b>", "Brier", "RAFT",
                 "13 min 33 s", f"{100 * results['best_of_n']['soft']['accuracy'][3]:.1f}"):
        assert part in page.text, part
    assert sorted(p.name for p in path.parent.iterdir()) == ["best_of_n.png", "calibration.png", "report.html"]
    for image in path.parent.glob("*.png"):
        assert image.read_bytes().startswith(b"\x89PNG")


def test_report_of_a_run_with_little_to_show(tmp_path: Path) -> None:
    """A run without RAFT, examples, calibration or timings still has a report."""
    results, *_ = synthetic_run.run(problems=20)
    bare = {"best_of_n": results["best_of_n"], "policy": {"pass@1": results["policy"]["pass@1"]}}
    page = Page(write_report(bare, tmp_path).read_text())
    assert "RAFT" not in page.text
    assert page.tags.count("svg") == 1


def test_same_results_give_the_same_files(tmp_path: Path) -> None:
    results, examples, calibrations, paired = synthetic_run.run(problems=20)
    for name in ("a", "b"):
        write_report(results, tmp_path / name, examples=examples, calibration=calibrations, paired=paired)
    for first in (tmp_path / "a").iterdir():
        assert first.read_bytes() == (tmp_path / "b" / first.name).read_bytes()


def paragraph(seed: int = 0, problems: int = 300, flawed: str | None = None) -> str:
    results, _, _, paired = synthetic_run.run(seed, problems, flawed)
    return " ".join(findings(results, paired))


def test_findings_name_what_stands_out_and_what_does_not() -> None:
    text = paragraph()
    assert "interval lies wholly above pass@1" in text
    assert "ER, η = 2 over outcome (ORM)" in text
    assert "Among the target kinds outcome (ORM) comes last" in text
    assert "a rise beyond the interval's noise" in text


def test_findings_on_few_problems_claim_nothing() -> None:
    text = paragraph(seed=3, problems=12)
    assert "No difference between targets stands out from noise" in text


def test_findings_say_when_a_target_loses_and_when_search_overshoots() -> None:
    text = paragraph(flawed="er_eta_2")
    assert "Among the target kinds ER, η = 2 comes last" in text
    assert "over-optimisation" in text
    assert "ER, η = 2 from" in text
    assert "over ER, η = 2 by" in text


def test_findings_when_scores_are_noise() -> None:
    results, *_ = synthetic_run.run()
    table = results["best_of_n"]
    floor = results["policy"]["pass@1"]
    for name in synthetic_run.SKILL:
        table[name] = {"accuracy": [floor] * 7, "low": [floor - 0.02] * 7, "high": [floor + 0.02] * 7}
    results["raft"] |= {"low": results["raft"]["before"] - 0.01}
    text = " ".join(findings(results))
    assert "cannot be told from choosing at random" in text
    assert "loses to the plain majority vote" in text
    assert "does not tell from no change" in text


@pytest.mark.parametrize("names", [("mine", "yours"), ("er_eta_0.1", "er_eta_50")])
def test_any_scorers_may_be_shown(tmp_path: Path, names: tuple[str, str]) -> None:
    rng = np.random.default_rng(0)
    correct = rng.integers(0, 2, (10, 4)).astype(float)
    curves = accuracy_curves(Pool(correct.tolist(), correct, {name: rng.random((10, 4)) for name in names}), [1, 4])
    results = {"best_of_n": curves.table(), "policy": {"pass@1": float(correct.mean())}}
    page = Page(write_report(results, tmp_path, paired=compare(curves, [names], 4)).read_text())
    assert names[1].replace("er_eta_", "ER, η = ") in page.text
