"""The page at `/`: one document, from `page.html`, that loads nothing else."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources

from jinja2 import Environment, StrictUndefined

from erprm.evaluation.style import SCORE_STOPS
from erprm.selection.aggregate import AGGREGATIONS
from erprm.steps import SPLITTERS


def page(model: str, form: str) -> tuple[str, str]:
    """The document, and a content security policy that lets it run its own script and ask its own server only."""
    template = resources.files("erprm.serving").joinpath("page.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    document = environment.from_string(template).render(
        model=model, form=form, aggregations=AGGREGATIONS, splitters=SPLITTERS, stops=SCORE_STOPS)
    [script] = re.findall(r"<script>(.*?)</script>", document, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return document, (f"default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; "
                      f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
