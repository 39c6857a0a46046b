"""Write a trained model in the forms that others load.

    erprm export --model runs/prm --to causal-lm --out runs/prm-causal-lm
    erprm export --model runs/prm-causal-lm --to classification --out runs/prm-classes

"causal-lm" is a stock causal language model whose two label logits at each step tag give the score: for Math-Shepherd's
and the paper's evaluation code, and for serving on vLLM. "classification" is a stock token classification model with
the labels "-" and "+": for TRL and vLLM. A tied output head is untied, the input embedding stays as it was. Of a model
that learnt several etas, --eta 2 writes the one.

What was written is read back by its stock class, and its scores must equal those of the model it came from; otherwise
nothing is left behind and the command fails. The causal-lm form has serve.sh beside it, which serves it on vLLM.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from itertools import islice

from erprm.cli.config import option
from erprm.prm.checkpoints.known import FORMS


@dataclass(frozen=True)
class Config:
    """Options of `erprm export`."""

    model: str = option(help="the trained model: a folder")
    out: str = option(help="the new folder to write", writes="folder")
    to: str = option("causal-lm", help="the form to write",
                     choices=[name for name, form in FORMS.items() if form.exported])
    eta: float | None = option(None, help="which eta of a model that learnt several")
    rows: str | None = option(None, help="rows (.jsonl or .parquet) whose scores are compared; built-in ones otherwise")
    probe: int = option(32, help="how many of those rows are compared", least=1)


def run(config: Config) -> int:
    """Export, prove, say where."""
    from erprm.files.writing import locked
    from erprm.prm.export import PROBE, SERVE_NAME, export
    from erprm.rows import read_rows

    rows = PROBE if config.rows is None else tuple((row.prompt, row.steps)
                                                   for row in islice(read_rows(config.rows), config.probe))
    with locked(config.out):
        report = export(config.model, config.out, config.to, rows, eta=config.eta)
    print(report, file=sys.stderr)
    if config.to == "causal-lm":
        print(f"serve it on vLLM with: sh {shlex.quote(str(report.folder / SERVE_NAME))}", file=sys.stderr)
    print(report.folder)
    return 0

