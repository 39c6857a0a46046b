"""The report's further tables, made from the parts that evaluation.json holds of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from erprm.evaluation.style import display_name, percent


@dataclass(frozen=True, slots=True)
class Table:
    """A heading, the columns, rows of texts, and what stands below."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str


def tables(results: Mapping[str, Any]) -> list[Table]:
    """Those for which the results have something to show."""
    made = [_turn_downs(results.get("over_optimisation") or {}), _passed_over(results.get("over_optimisation") or {}),
            _bias(results.get("bias") or {}), _adaptive(results.get("adaptive") or {}),
            _contamination(results.get("contamination") or {}), _runs(results.get("runs") or {})]
    return [table for table in made if table.rows]


def _turn_downs(found: Mapping[str, Any]) -> Table:
    rows = []
    for name, part in found.items():
        if test := part["turn_down"]:
            rows.append((display_name(name), str(test["peak"]), f"{test['kl_peak']:.2f}", str(test["last"]),
                         f"{test['kl_last']:.2f}", f"{percent(test['drop'])} [{percent(test['low'])}, "
                         f"{percent(test['high'])}]", f"{test['p']:.3f}", "yes" if test["beyond_noise"] else "no"))
    return Table("Does more choice hurt?", ("curve turns down", "peak at N", "KL", "ends at N", "KL",
                                            "drop, points", "p", "beyond noise"), tuple(rows),
                 "Over-optimisation: accuracy at the best N less that at the largest, on the same problems. p by "
                 "flipping signs, corrected for looking at every N (Holm). KL in nats, at most, from the policy.")


def _passed_over(found: Mapping[str, Any]) -> Table:
    rows = []
    for name, part in found.items():
        if lost := part["passed_over"]:
            rows.append((display_name(name), f"{lost['problems']:,}", f"{lost['margin']:.3f}",
                         *(f"{percent(share)} %" for share in lost["where"])))
    return Table("Where right solutions lose", ("passed over", "problems", "margin", "lowest step: first third",
                                                "middle", "last"), tuple(rows),
                 "Problems whose best-scored solution is wrong although another is right: which step of the best right "
                 "one scored lowest. evaluation.json names the first of them.")


def _bias(found: Mapping[str, Any]) -> Table:
    def shown(part: Mapping[str, float] | None) -> str:
        return "–" if part is None else f"{part['r']:+.2f} [{part['low']:+.2f}, {part['high']:+.2f}]"

    rows = tuple((display_name(name), shown(part["characters"]), shown(part["steps"])) for name, part in found.items())
    return Table("Do scores like length?", ("partial correlation of the score", "with length", "with step count"), rows,
                 "Among solutions of one problem and one outcome, so that neither difficulty nor truth explains it; 0 "
                 "is no bias. 95 % intervals over problems.")


def _adaptive(found: Mapping[str, Any]) -> Table:
    rows = []
    for name, part in found.items():
        test = part["paired"]
        rows.append((display_name(name), f"{part['candidates']:.1f}", f"{percent(part['saved'])} %",
                     percent(part["accuracy"]), percent(part["full"]),
                     f"{100 * test['difference']:+.1f} [{100 * test['low']:+.1f}, {100 * test['high']:+.1f}]",
                     part["interval"]))
    return Table("What stopping early would save", ("adaptive best-of-N", "candidates drawn", "text saved",
                                                    "accuracy, %", "whole pool, %", "difference", "intervals"),
                 tuple(rows), "Drawing stops when the leader's lower end lies above all other candidates' upper ends; "
                              "mean over random orders of each pool.")


def _contamination(found: Mapping[str, Any]) -> Table:
    rows = tuple((what, f"{part['questions']:,}", f"{part['training']:,}", f"{part['equal']:,}", f"{part['similar']:,}")
                 for what, part in found.items())
    return Table("Were these problems trained on?", ("questions of", "distinct", "training questions", "equal",
                                                     "similar"), rows,
                 "Equal: the same words. Similar: at least half of its runs of 8 words stand in a training question.")


def _runs(found: Mapping[str, Any]) -> Table:
    rows = []
    for run, part in found.items():
        for name, line in part["best_of_n"].items():
            if name != "n":
                accuracy, low, high = (percent(line[key][-1]) for key in ("accuracy", "low", "high"))
                rows.append((run, display_name(name), str(part["problems"]), str(part["best_of_n"]["n"][-1]),
                             f"{accuracy} [{low}, {high}]"))
    return Table("Other runs beside this one", ("run", "selector", "problems", "N", "accuracy, %"), tuple(rows),
                 "Runs on other pools are not paired: their intervals alone compare them.")
