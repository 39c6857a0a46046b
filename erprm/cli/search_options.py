"""Options of the commands that search: the reward model, how scores are read, and how long a solution may get."""

from __future__ import annotations

from dataclasses import dataclass

from erprm.cli.config import option
from erprm.cli.engine_options import EngineConfig, sampling_of
from erprm.cli.grading_options import GradingConfig
from erprm.selection.aggregate import AGGREGATIONS
from erprm.selection.methods import MethodOptions
from erprm.selection.search import SearchSettings
from erprm.values.scales import SCORES_ARE

# What a result depends on besides the method, its size and the models: results of other settings are not continued.
IDENTIFYING = ("expand", "max_steps", "aggregate", "eta", "scores_are", "top_k", "prm_eta")


@dataclass(frozen=True)
class SearchConfig(GradingConfig, EngineConfig):
    """Which problems are searched under which model, and how."""

    problems: str = option(help="where the problems are, as for erprm sample")
    prm: str = option(help="the process reward model: a folder or a hub name")
    prm_eta: float | None = option(None, help="which eta of a --prm that learnt several")
    expand: int = option(4, help="next steps sampled from each partial solution; adaptive: solutions between two looks",
                         least=1)
    top_k: int = option(8, help="q-sharp: tokens that are weighed", least=1)
    max_steps: int = option(40, help="longest solution, in steps", least=1)
    aggregate: str = option("min", help="step scores into one number, by which solutions are ranked",
                            choices=AGGREGATIONS)
    eta: float = option(2.0, help="guided, smc and q-sharp: inverse temperature; 0 is the policy itself")
    scores_are: str = option("value", help="guided, smc and q-sharp: what the scores estimate", choices=SCORES_ARE)
    memory_gib: float = option(4.0, help="memory for what the model has read of solutions under way, so that only new "
                                         "steps are scored; 0: every step anew", least=0)
    limit: int | None = option(None, least=1, help="only the first so many problems")


def method_options(config: SearchConfig, n: int, *, width: int = 4, trees: int = 4) -> MethodOptions:
    """What a method is run with. Raises InputError."""
    settings = SearchSettings(width=width, expand=config.expand, trees=trees, max_steps=config.max_steps,
                              aggregation=config.aggregate, splitter=config.splitter, sampling=sampling_of(config),
                              seed=config.seed)
    return MethodOptions(settings, n, config.eta, config.scores_are, config.top_k)
