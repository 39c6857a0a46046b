"""What a rollout run did, in numbers and in a few lines of text."""

from __future__ import annotations

from dataclasses import dataclass

from erprm.grading.answered import Answered
from erprm.grading.parts import PartsReport
from erprm.rollouts.finding import Found


@dataclass(frozen=True, slots=True)
class Saved:
    """Generated tokens that a run did without, estimated from its mean completion.

    Attributes:
        dedupe: prefixes that several solutions share, sampled once.
        finished: prefixes at which a solution had ended, not sampled.
        early_stop: prefixes whose value was known well enough before n_max.
    """

    dedupe: int
    finished: int
    early_stop: int

    def __str__(self) -> str:
        parts = [f"{value:,} by {name}" for name, value in (
            ("dedupe", self.dedupe), ("finished", self.finished), ("early stop", self.early_stop)) if value]
        return f"tokens: {', '.join(parts)}" if parts else "no tokens"


@dataclass(frozen=True, slots=True)
class LabelReport:
    """The outcome of `label`.

    Attributes:
        rows: where the labelled rows are.
        solutions, prefixes: how many rows, and how many distinct prefixes of them were to be sampled.
        restored: completions found in the store; completions, tokens: sampled now.
        truncated: completions cut off at max_tokens, earlier runs included.
        quarantined: names of damaged parts, whose completions were sampled again.
        out_of_budget: the token budget ended the run.
        seconds, engine_seconds: wall time in all, and in the engine.
        grading: the grader's own report.
        answered: how many completions state a final answer, earlier runs included.
        parts: what composed rewards are made of, earlier runs included.
        passing: trials that are completions of shorter prefixes, earlier runs included.
        rmse: for a run with a target of accuracy, the expected error of V_eta that was reached; else None.
        found: for a run that looks for first errors, of how many solutions they are known; else None.
        agreed: where the rows are that `keep` chose, if asked for.
        contrast: where completions are as training rows, if asked for; contrast_rows: how many.
    """

    rows: str
    solutions: int
    prefixes: int
    restored: int
    completions: int
    tokens: int
    truncated: int
    quarantined: tuple[str, ...]
    saved: Saved
    out_of_budget: bool
    seconds: float
    engine_seconds: float
    grading: str
    answered: Answered
    parts: PartsReport
    passing: int = 0
    rmse: float | None = None
    found: Found | None = None
    agreed: str | None = None
    contrast: str | None = None
    contrast_rows: int = 0

    def __str__(self) -> str:
        lines = [
            f"{self.solutions:,} solutions, {self.prefixes:,} distinct unfinished prefixes",
            f"{self.completions:,} completions sampled ({self.tokens:,} tokens, {self.seconds:,.1f} s of which "
            f"{self.engine_seconds:,.1f} s in the engine), {self.restored:,} found from earlier runs",
            f"saved {self.saved}",
            f"grading: {self.grading}",
            str(self.answered),
            *([str(self.parts)] if self.parts.count else []),
        ]
        if self.passing:
            lines.append(f"{self.passing:,} trials beside those are completions that passed through a longer prefix")
        if self.truncated:
            lines.append(f"{self.truncated:,} completions were cut off at max_tokens; they are kept, right only "
                         "if their answer was complete, and counted in extra['truncated']")
        if self.rmse is not None:
            lines.append(f"expected root mean square error of V_eta, under the fitted rates: {self.rmse:.4f}")
        if self.found is not None:
            lines.append(str(self.found))
        if self.quarantined:
            lines.append(f"damaged, moved to quarantine and sampled again: {', '.join(self.quarantined)}")
        if self.out_of_budget:
            lines.append("the token budget is spent; some prefixes have fewer completions than asked for")
        return "\n".join(lines)
