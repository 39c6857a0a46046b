"""What the doctor found: findings, counts and sample rows, and how they are printed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from erprm.prm.rows.tokens import StepTokens

LEVELS = ("error", "warning", "note")
_EXAMPLES = 3  # rows that a finding names


@dataclass
class Finding:
    """One thing that was looked for and found.

    Attributes:
        level: "error", "warning" or "note".
        what: in words, without the count.
        advice: what to do.
        count: how often.
        rows: the first few row numbers, from 1.
    """

    level: str
    what: str
    advice: str
    count: int = 0
    rows: list[int] = field(default_factory=list)

    def add(self, row: int) -> None:
        """One more, in this row."""
        self.count += 1
        if len(self.rows) < _EXAMPLES:
            self.rows.append(row)

    def __str__(self) -> str:
        count = f"{self.count:,} " if self.count else ""
        where = f" (row{'s' if self.count > 1 else ''} {', '.join(map(str, self.rows))}" if self.rows else ""
        more = ", ..." if self.count > len(self.rows) and self.rows else ""
        return f"{self.level}: {count}{self.what}{where}{more}{')' if self.rows else ''}\n    -> {self.advice}"


@dataclass
class Diagnosis:
    """What `diagnose` found.

    Attributes:
        tokens: the tag and label ids, None where they aren't single tokens.
        rows, tags, labelled, length: rows read, tags and targets counted over the file, tokens of the longest row.
        saved_as: the form that the trained model will have on disk; None where that wasn't found out.
        samples: rows as they will be trained: (row number, [(token, target or None), ...]).
    """

    findings: list[Finding] = field(default_factory=list)
    tokens: StepTokens | None = None
    rows: int = 0
    tags: int = 0
    labelled: int = 0
    length: int = 0
    saved_as: str | None = None
    samples: list[tuple[int, list[tuple[str, float | None]]]] = field(default_factory=list)

    @property
    def healthy(self) -> bool:
        """Nothing would corrupt training."""
        return all(finding.level != "error" for finding in self.findings)

    def __str__(self) -> str:
        lines = []
        if self.tokens is not None:
            lines.append(str(self.tokens))
        if self.saved_as is not None:
            lines.append(f"model: will be saved as {self.saved_as}")
        for number, tokens in self.samples:
            lines += [f"row {number} as it is trained:", _shown(tokens)]
        if self.rows:
            lines.append(f"rows: {self.rows:,}; tags {self.tags:,}, of which {self.labelled:,} have a target; "
                         f"longest row {self.length:,} tokens")
        lines += [str(finding) for finding in sorted(self.findings, key=lambda finding: LEVELS.index(finding.level))]
        lines.append("healthy: nothing here would corrupt training" if self.healthy else
                     "not healthy: put the errors right before training")
        return "\n".join(lines)


def _shown(tokens: list[tuple[str, float | None]]) -> str:
    """"|2|+|3|...| ки <- 0.81|", one line per step."""
    lines, line = [], "  "
    for text, target in tokens:
        line += "|" + text.replace("\n", "\\n")
        if target is not None:
            lines.append(f"{line}|  <- {'no target' if np.isnan(target) else f'{target:.4g}'}")
            line = "  "
    return "\n".join(lines + ([line] if line.strip() else []))
