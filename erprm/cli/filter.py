"""Keep the labelled rows on which Monte Carlo and a judge agree about the first wrong step.

    erprm filter --rows labels/rows.parquet --consensus verdicts.parquet --out agreed.parquet
    erprm filter --rows rows.parquet --consensus verdicts.parquet --distance 1 --confidence 0.8 --out agreed.parquet
    erprm filter --rows rows.parquet --consensus verdicts.parquet --weight 0.3 --out weighted.parquet

Monte Carlo's first wrong step is the first prefix from which no completion was right, or with --confidence the
likeliest step of the posterior over first wrong steps, where it is that likely. --consensus takes what `erprm judge`
wrote. The other rows are dropped, or with --weight stay and count that much in `erprm train`; they are counted, with
reasons.
"""

from __future__ import annotations

from dataclasses import dataclass

from erprm.cli.config import option
from erprm.errors import InputError


@dataclass(frozen=True)
class Config:
    """Options of `erprm filter`."""

    rows: str = option(help="rows with counts: .jsonl or .parquet")
    consensus: str = option(help="verdicts of `erprm judge`: .jsonl or .parquet")
    out: str = option(help="where the rows that agree go: .jsonl or .parquet", writes="rows")
    distance: int = option(0, help="most steps between the two first wrong steps", least=0)
    confidence: float | None = option(None, help="least posterior probability of Monte Carlo's first wrong step; by "
                                                 "default the first step with no right completion", above=0, most=1)
    weight: float = option(0.0, help="what the rows that do not agree count in training, beside 1 for those that do; "
                                     "0 drops them", least=0, most=1)


def run(config: Config) -> None:
    """Filter and write; prints the report and where."""
    from erprm.files.writing import locked
    from erprm.judging.consensus import agreeing
    from erprm.judging.judges import from_verdicts
    from erprm.rows import read_rows, write_rows

    with locked(config.out):
        kept, report = agreeing(read_rows(config.rows), from_verdicts(read_rows(config.consensus)), config.distance,
                                config.confidence, weight=config.weight)
        print(report)
        if not report.agree:
            raise InputError(f"{config.rows}: expected rows that agree with {config.consensus}, found none")
        print(f"wrote {write_rows(config.out, kept):,} rows to {config.out}")
