"""Rows on which Monte Carlo and a judge agree about the first wrong step.

    kept, report = agreeing(rows, from_verdicts(read_rows("verdicts.parquet")), distance=0)
    print(report)                                     # consensus: 412 of 1,000 rows agree; ...

Labels from completions alone generalise worse than those that a judge confirms (arXiv 2501.07301 keeps about 40 % of
the solutions, those whose first error by Monte Carlo is the judge's). Monte Carlo's first wrong step is the first
prefix from which no completion was right; with a `confidence`, the likeliest step of the posterior
(`erprm.values.first_error`), if it is that likely. The other rows are left out, or stay with a smaller weight.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from erprm.errors import InputError
from erprm.judging.judges import Judge, NoVerdictError
from erprm.rows import StepRow
from erprm.values import ErrorPrior, Steps, counts_of, first_error


@dataclass
class ConsensusReport:
    """How many rows agree, and how many of the others were left out (weight 0) or weighted, by reason."""

    weight: float = 0.0
    agree: int = 0
    others: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        total = self.agree + sum(self.others.values())
        done = f"weighted {self.weight:g}" if self.weight else "dropped"
        parts = [f"consensus: {self.agree:,} of {total:,} rows agree"]
        parts += [f"{count:,} {done}: {reason}" for reason, count in sorted(self.others.items())]
        return "; ".join(parts)


def agreeing(rows: Iterable[StepRow], judge: Judge, distance: int = 0, confidence: float | None = None,
             prior: ErrorPrior | None = None, weight: float = 0.0) -> tuple[list[StepRow], ConsensusReport]:
    """The rows whose first wrong step by Monte Carlo lies within `distance` steps of the judge's, in their order.

    Args:
        rows: with counts (k of n); a finished solution's last step is known by its outcome.
        distance: most steps between the two; no wrong step agrees only with no wrong step.
        confidence: least posterior probability of Monte Carlo's first wrong step; None: the first step with k = 0.
        prior: for the posterior.
        weight: by which the weights of the other rows are multiplied, to be kept among these; 0 leaves them out.

    Raises:
        InputError: for a negative distance, a confidence outside of (0, 1], or a weight outside of [0, 1].
    """
    if distance < 0:
        raise InputError(f"distance: expected at least 0 steps, found {distance}")
    if confidence is not None and not 0 < confidence <= 1:
        raise InputError(f"confidence: expected a number in (0, 1], found {confidence}")
    if not 0 <= weight <= 1:
        raise InputError(f"weight: expected a number in [0, 1], found {weight}")
    report = ConsensusReport(weight)
    kept = []
    for row in rows:
        against = None
        try:
            sampled, judged = monte_carlo(row, confidence, prior), judge(row)
            if sampled != judged and (sampled is None or judged is None or abs(sampled - judged) > distance):
                against = "the two disagree"
        except NoVerdictError as reason:
            against = str(reason)
        if against is None:
            report.agree += 1
            kept.append(row)
        else:
            report.others[against] += 1
            if weight:
                kept.append(dataclasses.replace(row, weight=row.times * weight))
    return kept, report


def monte_carlo(row: StepRow, confidence: float | None = None, prior: ErrorPrior | None = None) -> int | None:
    """The first wrong step by completions, from 0; None: no step is wrong.

    Raises:
        NoVerdictError: for a row without counts, or without a step that is likely enough.
    """
    if row.successes is None or row.trials is None:
        raise NoVerdictError("no counts")
    right = None if row.outcome is None or not row.finished else row.outcome >= 0.5
    if confidence is not None:
        k, n, _, _ = counts_of(Steps.of_rows([row]))
        posterior = first_error(k, n, right, prior)
        likeliest = int(posterior.argmax())
        if posterior[likeliest] < confidence:
            raise NoVerdictError("Monte Carlo is not sure enough")
        return None if likeliest == len(row.steps) else likeliest
    counts = list(zip(row.successes, row.trials, strict=True))
    if right is not None:
        counts[-1] = (int(right), 1)
    if any(n == 0 for _, n in counts):
        raise NoVerdictError("a step without a completion")
    return next((number for number, (k, _) in enumerate(counts) if k == 0), None)
