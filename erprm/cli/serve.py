"""Serve a process reward model over HTTP: step scores, rewards for reinforcement learning, a page to look at.

    erprm serve --model runs/prm                          # http://127.0.0.1:8008, of this machine alone
    erprm serve --model runs/prm --host 0.0.0.0 --port 80 # of every machine that reaches this one: there is no password

    curl http://127.0.0.1:8008/score -H 'Content-Type: application/json' -d '{"solutions": [
        {"question": "2+3*4?", "solution": "3*4=12\\n2+12=14"}]}'
    curl http://127.0.0.1:8008/rewards -H 'Content-Type: application/json' -d '{"mode": "softmin", "solutions": [
        {"question": "2+3*4?", "steps": ["3*4=12", "2+12=14"]}]}'

At / a page shows each step coloured by its score, the step that decides, and the other solutions of the problem: paste
them, or open a scored file. /health says how the service is. Requests that come while the model is busy are scored
together; what is too large, malformed or too much at a time is refused with one line (docs/serving.md lists all).

In Python, erprm.serving.client.PRMClient scores through it: PRMReward(PRMClient("http://127.0.0.1:8008"), ...).
It stops on Ctrl-C or SIGTERM, once the requests that run are answered.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from erprm.cli.config import option
from erprm.cli.scorer_options import ScorerConfig, scorer_of
from erprm.errors import InputError, import_extra
from erprm.prm.scoring.engines import ENGINES
from erprm.serving.limits import Limits


@dataclass(frozen=True)
class Config(ScorerConfig, Limits):
    """Options of `erprm serve`."""

    host: str = option("127.0.0.1", help="the address to listen at; by default this machine alone")
    port: int = option(8008, help="the port; 0 takes a free one", least=0, most=65535)


def run(config: Config) -> None:
    """Take the address, load the model, serve until told to stop."""
    for package in ("fastapi", "uvicorn"):
        import_extra(package, "serve")
    from erprm.prm.checkpoints.forms import HIGH
    from erprm.serving.server import bound, serve

    limits = Limits(**{item.name: getattr(config, item.name) for item in dataclasses.fields(Limits)})
    with bound(config.host, config.port) as address:
        scorer = scorer_of(config, every=ENGINES[config.engine].inner == "transformers")  # with the score's interval
        try:
            columns = scorer.checkpoint.columns
            if len(columns) > 1 and HIGH not in columns:
                raise InputError(f"eta: expected which one of those that the model learnt ({', '.join(columns)}), "
                                 "found none")
            serve(scorer, config.model, config.host, address, limits, lambda shown: print(shown, flush=True))
        finally:
            scorer.close()
    print("stopped; every request that was taken is answered")
