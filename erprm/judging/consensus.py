"""Rows on which Monte Carlo and a judge agree about the first wrong step.

    kept, report = agreeing(rows, from_verdicts(read_rows("verdicts.parquet")), distance=0)
    print(report)                                     # 412 of 1,000 rows agree; ...

Labels from completions alone generalise worse than those that a judge confirms (arXiv 2501.07301 keeps about 40 % of
the solutions, those whose first error by Monte Carlo is the judge's). Monte Carlo's first wrong step is the first
prefix from which no completion was right; with a `confidence`, the likeliest step of the posterior
(`erprm.values.first_error`), if it is that likely.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from erprm.errors import InputError
from erprm.judging.judges import Judge, NoVerdictError
from erprm.rows import StepRow
from erprm.values import ErrorPrior, Steps, counts_of, first_error


@dataclass
class ConsensusReport:
    """How many rows agree, and what became of the others, by reason."""

    agree: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        total = self.agree + sum(self.dropped.values())
        parts = [f"consensus: {self.agree:,} of {total:,} rows kept"]
        parts += [f"{count:,} dropped: {reason}" for reason, count in sorted(self.dropped.items())]
        return "; ".join(parts)


def agreeing(rows: Iterable[StepRow], judge: Judge, distance: int = 0, confidence: float | None = None,
             prior: ErrorPrior | None = None) -> tuple[list[StepRow], ConsensusReport]:
    """The rows whose first wrong step by Monte Carlo lies within `distance` steps of the judge's.

    Args:
        rows: with counts (k of n); a finished solution's last step is known by its outcome.
        distance: most steps between the two; no wrong step agrees only with no wrong step.
        confidence: least posterior probability of Monte Carlo's first wrong step; None: the first step with k = 0.
        prior: for the posterior.

    Raises:
        InputError: for a negative distance, or a confidence outside of (0, 1].
    """
    if distance < 0:
        raise InputError(f"distance: expected at least 0 steps, found {distance}")
    if confidence is not None and not 0 < confidence <= 1:
        raise InputError(f"confidence: expected a number in (0, 1], found {confidence}")
    report = ConsensusReport()
    kept = []
    for row in rows:
        try:
            sampled, judged = monte_carlo(row, confidence, prior), judge(row)
        except NoVerdictError as reason:
            report.dropped[str(reason)] += 1
            continue
        if sampled == judged or (sampled is not None and judged is not None and abs(sampled - judged) <= distance):
            report.agree += 1
            kept.append(row)
        else:
            report.dropped["the two disagree"] += 1
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
