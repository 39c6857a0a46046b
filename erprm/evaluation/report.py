"""The report that people look at: one self-contained HTML file and its curves as PNG.

    write_report(results, Path("runs/demo"), examples=examples, calibration=calibrations, paired=comparisons)

writes `report.html` (inline style and figures, no scripts, light and dark), `best_of_n.png` and `calibration.png`.
`results` is the content of results.json; parts that a run does not have are left out of the page. Besides the keys that
the demo fixes it may hold "problems", the number of held-out problems.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from erprm.evaluation import fragments
from erprm.evaluation.charts import best_of_n_chart, calibration_chart
from erprm.evaluation.figures import save_best_of_n, save_calibration
from erprm.evaluation.findings import findings
from erprm.evaluation.style import display_name, percent, scorers
from erprm.files.writing import written_beside
from erprm.statistics.bootstrap import Comparison
from erprm.statistics.calibration import Calibration


@dataclass(frozen=True, slots=True)
class ScoredStep:
    """One step of a solution with the PRM's score and, where it was sampled, the truth.

    Attributes:
        text: the step.
        score: the PRM's, in [0, 1].
        value: what the score should be: V_eta (or k/n) of the Monte-Carlo completions; None when there are none.
        successes, trials: the counts behind `value`; for a finished solution's last step the outcome of 1 trial.
    """

    text: str
    score: float
    value: float | None = None
    successes: int | None = None
    trials: int | None = None


@dataclass(frozen=True, slots=True)
class ExampleSolution:
    """A held-out solution to show. `note` says why it was picked."""

    question: str
    steps: tuple[ScoredStep, ...]
    correct: bool
    answer: str = ""
    gold: str = ""
    note: str = ""
    score_name: str = "score"
    value_name: str = "true value"


def write_report(results: Mapping[str, Any], out_dir: Path, *, examples: Sequence[ExampleSolution] = (),
                 calibration: Sequence[Calibration] = (), paired: Sequence[Comparison] = (),
                 title: str = "Entropy-regularised process rewards, in miniature") -> Path:
    """Write the report and its PNG figures into `out_dir`, each beside its name and then renamed.

    Args:
        results: as results.json: `best_of_n` and `policy` at least.
        examples: solutions to show step by step.
        calibration: one per PRM, on held-out steps.
        paired: selectors compared on the same problems; the p-values are corrected together.

    Returns:
        The path of report.html.
    """
    save_best_of_n(out_dir / "best_of_n.png", results["best_of_n"], str(results.get("task", "")))
    if calibration:
        save_calibration(out_dir / "calibration.png", calibration)
    page = render(results, examples=examples, calibration=calibration, paired=paired, title=title)
    path = out_dir / "report.html"
    with written_beside(path) as beside:
        beside.write_text(page, encoding="utf-8")
    return path


def render(results: Mapping[str, Any], *, examples: Sequence[ExampleSolution] = (),
           calibration: Sequence[Calibration] = (), paired: Sequence[Comparison] = (), title: str = "") -> str:
    """The page as text."""
    sections = [_curves(results), _tests(paired), _solutions(examples), _calibration(calibration), _raft(results),
                _seconds(results)]
    template = Template(files("erprm.evaluation").joinpath("report.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(title), heading=escape(title), subtitle=_subtitle(results), tiles=_tiles(results),
        findings=" ".join(escape(sentence) for sentence in findings(results, paired)),
        sections="\n".join(section for section in sections if section),
        footer="Accuracies are exact expectations over all N-subsets of each problem's pool (votes: resampled "
               "subsets); brackets are 95 % bootstrap intervals over problems. A score is the PRM's sigmoid at the "
               "step's tag.")


def _subtitle(results: Mapping[str, Any]) -> str:
    parts = [f"Task <b>{escape(str(results['task']))}</b>"] if "task" in results else []
    policy, labels = results["policy"], results.get("labels", {})
    if "parameters" in policy:
        parts.append(f"policy of {policy['parameters'] / 1e6:.2f} M parameters")
    if labels:
        parts.append(f"{labels['completions']:,} completions from {labels['distinct_prefixes']:,} distinct prefixes "
                     f"({labels['prefixes']:,} step labels)")
    if "problems" in results:
        parts.append(f"{results['problems']:,} held-out problems")
    if "seed" in results:
        parts.append(f"seed {escape(str(results['seed']))}")
    return ", ".join(parts)


def _tiles(results: Mapping[str, Any]) -> str:
    table = results["best_of_n"]
    n = table["n"][-1]
    shown = [(percent(results["policy"]["pass@1"]) + " %", "pass@1, the policy alone")]
    names = scorers(table)
    if names:
        best = max(names, key=lambda name: table[name]["accuracy"][-1])
        shown.append((percent(table[best]["accuracy"][-1]) + " %", f"best of {n} by {display_name(best)}"))
    if "majority" in table:
        shown.append((percent(table["majority"]["accuracy"][-1]) + " %", f"majority of {n}"))
    if "pass@n" in table:
        shown.append((percent(table["pass@n"]["accuracy"][-1]) + " %", f"pass@{n}, the ceiling"))
    if results.get("raft"):
        shown.append((percent(results["raft"]["after"]) + " %", "pass@1 after one round of RAFT"))
    if results.get("seconds"):
        shown.append((fragments.duration(sum(results["seconds"].values())), "the whole run"))
    return "".join(f'<div class="tile"><b>{escape(value)}</b><span>{escape(label)}</span></div>'
                   for value, label in shown)


def _curves(results: Mapping[str, Any]) -> str:
    table = results["best_of_n"]
    chart = best_of_n_chart(table, results["policy"]["pass@1"])
    return (f"<h2>Choosing among N candidates</h2><figure>{chart}<figcaption>Accuracy in % on held-out problems. "
            "Bands: 95 % intervals. Dotted line: pass@1. All selectors choose from the same pool.</figcaption></figure>"
            + fragments.accuracy_table(table))


def _tests(paired: Sequence[Comparison]) -> str:
    if not paired:
        return ""
    return ("<h2>Which differences stand out</h2>" + fragments.comparison_table(paired) +
            '<p class="note">Differences in points on the same problems. p by flipping signs problem by problem, '
            "corrected for the number of rows (Holm); bold where below 0.05.</p>")


def _solutions(examples: Sequence[ExampleSolution]) -> str:
    if not examples:
        return ""
    return ("<h2>Held-out solutions, step by step</h2><p>Each step is coloured by its score, from vermilion (0) to "
            "green (1). Beside it stands its true value, from completions sampled after that step; the reward model "
            "never saw them.</p>" + "".join(_solution(example) for example in examples))


def _solution(example: ExampleSolution) -> str:
    verdict = ("right", "right") if example.correct else ("wrong", "wrong")
    answer = f"answered {escape(example.answer)}, " if example.answer else ""
    gold = f"reference {escape(example.gold)}" if example.gold else ""
    note = f'<p class="note">{escape(example.note)}</p>' if example.note else ""
    rows = "".join(fragments.step_row(step.text, step.score, step.value, step.successes, step.trials)
                   for step in example.steps)
    return (f'<div class="card solution"><header><div class="question">{escape(example.question)}</div>'
            f'<span class="verdict {verdict[0]}">{verdict[1]}</span></header>'
            f'<div class="scroll"><table><tr><th>step</th><th>{escape(example.score_name)}</th>'
            f'<th>{escape(example.value_name)}</th></tr>{rows}</table></div>'
            f'<p class="note">{answer}{gold}</p>{note}</div>')


def _calibration(calibration: Sequence[Calibration]) -> str:
    if not calibration:
        return ""
    chart = calibration_chart(calibration)
    return ('<h2>Do scores mean what they say?</h2><div class="pair"><figure>' + chart + "<figcaption>Mean truth of "
            "the steps in each score bin; the area of a point shows how many steps it stands for. A calibrated model "
            'lies on the diagonal.</figcaption></figure><div class="card">' + fragments.calibration_table(calibration) +
            '<p class="note">Brier: mean squared difference between score and truth (smaller is better). ECE: expected '
            "calibration error over ten bins. AUC: chance that a step that led to success scores above one that did "
            "not.</p></div></div>")


def _raft(results: Mapping[str, Any]) -> str:
    raft = results.get("raft")
    if not raft:
        return ""
    return ('<h2>One round of RAFT</h2><p>The policy, fine-tuned on its own best-scored solutions, goes from '
            f"<b>{percent(raft['before'])} %</b> to <b>{percent(raft['after'])} %</b> pass@1 on held-out problems "
            f"(95 % interval {percent(raft['low'])} to {percent(raft['high'])} %).</p>")


def _seconds(results: Mapping[str, Any]) -> str:
    seconds = results.get("seconds")
    return f"<h2>Where the time went</h2>{fragments.seconds_table(seconds)}" if seconds else ""
