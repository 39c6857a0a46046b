"""One honest paragraph from the numbers: what stands out from noise, what does not, and who lost.

Nothing here knows what was hoped for: every sentence is chosen by the results and the tests alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from erprm.evaluation.curves import BestOfN
from erprm.evaluation.style import display_name, is_entropy_regularised, percent
from erprm.statistics.bootstrap import Comparison, holm

SIGNIFICANCE = 0.05
NO_VOTES = "There is no majority vote to compare with: no candidate has an answer."


def findings(results: Mapping[str, Any], paired: Sequence[Comparison] = ()) -> list[str]:
    """The sentences of the paragraph.

    Args:
        results: as results.json (`best_of_n`, `policy`, and, where there was one, `raft`).
        paired: comparisons between selectors on the same problems; their p-values are corrected together (Holm).
    """
    table = BestOfN.of_dict(results["best_of_n"])
    floor = float(results["policy"]["pass@1"])
    names = table.scorers
    sentences = [_setting(results, table, floor)]
    if names:
        sentences += _against_floor(table, names, floor)
        sentences += _between(table, names, paired)
        sentences += _against_votes(table, names, paired, results)
        sentences += _falling(results, table, names)
    return sentences + _raft(results) + _caveats(results, paired)


def stands_out(paired: Sequence[Comparison]) -> list[tuple[Comparison, float, bool]]:
    """Each comparison with its corrected p-value and whether it is below 5 %."""
    corrected = holm([part.result.p for part in paired])
    return [(part, p, p < SIGNIFICANCE) for part, p in zip(paired, corrected, strict=True)]


def _setting(results: Mapping[str, Any], table: BestOfN, floor: float) -> str:
    problems = f" of {results['problems']} held-out problems" if "problems" in results else " of the held-out problems"
    text = f"The policy alone solves {percent(floor)} %{problems} (pass@1)"
    if "pass@n" in table.lines:
        ceiling = percent(table.last("pass@n"))
        text += f"; among {table.ns[-1]} candidates there is a right one for {ceiling} %"
    return text + "."


def _at_end(table: BestOfN, name: str) -> tuple[float, float, float]:
    line = table.lines[name]
    return line.accuracy[-1], line.low[-1], line.high[-1]


def _against_floor(table: BestOfN, names: Sequence[str], floor: float) -> list[str]:
    n = table.ns[-1]
    best = max(names, key=lambda name: _at_end(table, name)[0])
    accuracy, low, high = _at_end(table, best)
    gain = 100 * (accuracy - floor)
    where = ("and its interval lies wholly above pass@1" if low > floor else
             "and its interval lies wholly below pass@1" if high < floor else
             "but its interval includes pass@1, so that choosing by it cannot be told from choosing at random")
    sentences = [f"At N = {n} the highest point is {display_name(best)} with {percent(accuracy)} % "
                 f"[{percent(low)}, {percent(high)}], {gain:+.1f} points from pass@1, {where}."]
    rest = [name for name in names if name != best]
    unclear = [name for name in rest if _at_end(table, name)[1] <= floor <= _at_end(table, name)[2]]
    below = [name for name in rest if _at_end(table, name)[2] < floor]
    if unclear:
        sentences.append(f"Not told apart from pass@1: {_join(unclear)}.")
    if below:
        sentences.append(f"Worse than choosing at random: {_join(below)}.")
    return sentences


def _between(table: BestOfN, names: Sequence[str], paired: Sequence[Comparison]) -> list[str]:
    if len(names) < 2:
        return []
    ranked = sorted(names, key=lambda name: _at_end(table, name)[0], reverse=True)
    among = [row for row in stands_out(paired) if row[0].first in names and row[0].second in names]
    sentences = [f"Among the target kinds {display_name(ranked[-1])} comes last with "
                 f"{percent(_at_end(table, ranked[-1])[0])} %."]
    if any(is_entropy_regularised(name) for name in names) and not is_entropy_regularised(ranked[0]):
        sentences.append("No entropy-regularised target comes first here.")
    if not among:
        return sentences
    clear = [f"{_winner(part)} over {_loser(part)} by {abs(100 * part.result.difference):.1f} points ({_p(p)})"
             for part, p, sure in among if sure]
    level = f"paired tests on the same problems, corrected for {len(paired)} comparisons"
    if clear:
        sentences.append(f"Differences between targets that stand out from noise ({level}): {'; '.join(clear)}.")
    else:
        sentences.append(f"No difference between targets stands out from noise ({level}), so that their order here may "
                         "be chance.")
    unsure = [part for part, _, sure in among if not sure]
    if clear and unsure:
        pairs = ", ".join(f"{display_name(part.first)} and {display_name(part.second)}" for part in unsure)
        sentences.append(f"Not told apart: {pairs}.")
    return sentences


def _against_votes(table: BestOfN, names: Sequence[str], paired: Sequence[Comparison], results: Mapping[str, Any],
                   ) -> list[str]:
    if "majority" not in table.lines:
        return [NO_VOTES] if results.get("votes") == 0 else []
    best = max(names, key=lambda name: _at_end(table, name)[0])
    accuracy, vote = _at_end(table, best)[0], _at_end(table, "majority")[0]
    tested = [(p, sure) for part, p, sure in stands_out(paired) if {part.first, part.second} == {best, "majority"}]
    order = "beats" if accuracy > vote else "loses to" if accuracy < vote else "equals"
    text = (f"{_capital(display_name(best))} {order} the plain majority vote "
            f"({percent(accuracy)} against {percent(vote)} %")
    if tested:
        text += f", {_p(tested[0][0])}{'' if tested[0][1] else ', within noise'}"
    text += ")"
    if "weighted_majority" in table.lines:
        text += f"; votes weighed by scores reach {percent(table.last('weighted_majority'))} %"
    return [text + "."]


def _falling(results: Mapping[str, Any], table: BestOfN, names: Sequence[str]) -> list[str]:
    """Over-optimisation: a curve that ends below its own peak; where it was tested, whether beyond noise."""
    tested = {name: part["turn_down"] for name, part in results.get("over_optimisation", {}).items()}
    falls = []
    for name in names:
        line = table.lines[name]
        peak = max(range(len(table.ns)), key=lambda index: line.accuracy[index])
        drop = line.accuracy[peak] - line.accuracy[-1]
        if drop > 0.005:
            size = "" if line.high[-1] < line.accuracy[peak] else ", within its interval"
            if test := tested.get(name):
                size = f", beyond noise ({_p(test['p'])})" if test["beyond_noise"] else ", within noise"
            falls.append(f"{display_name(name)} from {percent(line.accuracy[peak])} % at N = {table.ns[peak]} to "
                         f"{percent(line.accuracy[-1])} %{size}")
    if not falls:
        return []
    return [f"More candidates do not always help (over-optimisation): {'; '.join(falls)}."]


def _raft(results: Mapping[str, Any]) -> list[str]:
    raft = results.get("raft")
    if not raft:
        return []
    before, after = raft["before"], raft["after"]
    text = (f"RAFT takes pass@1 from {percent(before)} to {percent(after)} % "
            f"[{percent(raft['low'])}, {percent(raft['high'])}]")
    if raft["low"] > before:
        return [text + ", a rise beyond the interval's noise."]
    if raft["high"] < before:
        return [text + ", a loss beyond the interval's noise."]
    return [text + ", which the interval does not tell from no change."]


def _caveats(results: Mapping[str, Any], paired: Sequence[Comparison]) -> list[str]:
    sentences = []
    if chosen := results.get("aggregation"):
        how = _join([f"{display_name(name)} by {aggregation.replace('_', ' ')}"
                     for name, aggregation in chosen.items()])
        sentences.append(f"Step scores became one number as served best on separate validation problems: {how}.")
    if paired and "seed" in results:
        sentences.append("Every model was trained once, with one seed: the tests speak of other problems, not of how "
                         "another seed would have trained.")
    return sentences


def _winner(part: Comparison) -> str:
    return display_name(part.first if part.result.difference > 0 else part.second)


def _loser(part: Comparison) -> str:
    return display_name(part.second if part.result.difference > 0 else part.first)


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _join(names: Sequence[str]) -> str:
    return ", ".join(display_name(name) for name in names)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
