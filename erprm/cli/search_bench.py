r"""Which search is worth its tokens? Beam, DVTS, particles, guided, best-of-N and votes at equal compute, one figure.

    erprm search-bench --problems gsm8k:test.jsonl --policy models/policy --prm runs/prm --out runs/search
    erprm search-bench --problems p.jsonl --policy models/policy --prm runs/prm --methods smc best-of-n --ns 4 16 64 \
        --out runs/search

Every method runs on every problem at every N of --ns: N solutions, or N next steps of a problem at a time (beam and
dvts keep N / --expand of them). The cost is counted: tokens that the policy generates, and tokens that the reward model
computes; what it has read of a solution under way is not read again. How to read the figure: the higher a line at the
same place of the horizontal axis, the better its tokens are spent; majority scores nothing, so a PRM has to beat it at
more than its own N. Intervals are 95 % over problems, and the p-values in search.json pair the problems.

--eta is the inverse temperature of guided, smc and q-sharp: 0 is the policy itself, and a large eta follows the scores
alone. Give the eta that the model was trained with and leave --scores-are at value; for a model of success rates (soft
or hard labels) any eta goes with --scores-are mean.

Written: search.json with every number, search.png, and points/ with what is finished: interrupted, the same command
goes on; with more methods or another N only what is missing is done. Other settings that matter are refused there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erprm.cli.config import option
from erprm.cli.engine_options import engine_of
from erprm.cli.grading_options import pool_of
from erprm.cli.prompt_options import template_of
from erprm.cli.search_options import IDENTIFYING, SearchConfig, method_options
from erprm.errors import InputError
from erprm.files.progress import progress
from erprm.problems import Problem, load_problems
from erprm.selection.methods import METHODS, MethodOptions

if TYPE_CHECKING:
    from erprm.evaluation.search_bench import Point


@dataclass(frozen=True)
class Config(SearchConfig):
    """Options of `erprm search-bench`."""

    out: str = option(help="folder for the results", writes="folder")
    methods: tuple[str, ...] = option(("best-of-n", "majority", "beam", "dvts", "guided", "smc"), choices=METHODS,
                                      help="what is compared")
    ns: tuple[int, ...] = option((4, 16), help="sizes N", least=1)
    part_problems: int = option(64, help="problems searched together, and committed to disk, at a time", least=1)


def run(config: Config) -> int | None:
    """Run what is missing, then write the figure and the numbers."""
    from erprm.files.writing import locked, remove_unfinished

    options = method_options(config, 1)
    template_of(config)
    problems = load_problems(config.problems, config.limit)
    points = [(method, n) for method in dict.fromkeys(config.methods) for n in sorted(set(config.ns))]
    if not problems or not points:
        raise InputError(f"search-bench: expected problems, methods and ns, found {len(problems)} problems and "
                         f"{len(points)} pairs of method and N")
    if config.dry_run:
        print(f"search-bench: {len(problems):,} problems, {len(points)} points: "
              + ", ".join(f"{method} at N = {n}" for method, n in points) + f", into {config.out}")
        return None
    with locked(config.out):
        remove_unfinished(Path(config.out))
        _measure(config, options, problems, points)
    return None


def _measure(config: Config, options: MethodOptions, problems: Sequence[Problem],
             points: Sequence[tuple[str, int]]) -> None:
    from erprm.engines.identity import model_identity
    from erprm.evaluation.figures import save_png, search_figure
    from erprm.evaluation.search_bench import SearchBench
    from erprm.files.writing import atomic_write
    from erprm.prm.scoring.prefixes import search_scorer
    from erprm.rollouts.settings import store_settings

    out = Path(config.out)
    prm = search_scorer(config.prm, device=config.device, eta=config.prm_eta, memory_gib=config.memory_gib)
    engine = engine_of(config)
    found: list[Point] = []
    with pool_of(config) as grader, progress("search-bench", total=len(points) * len(problems), unit="problems") as bar:
        identity = store_settings("search-bench", engine.fingerprint(), options.settings.sampling, problems,
                                  config.seed, config.splitter, grader.settings())
        identity |= {"prm": model_identity(config.prm)} | {
            name: str(getattr(config, name)) for name in (*IDENTIFYING, "memory_gib")}
        bench = SearchBench(problems, engine, prm.scorer, grader, options, config.memory_gib, config.part_problems)
        for method, n in points:
            found.append(bench.point(method, n, out / "points", identity, bar.advance))
    engine.close()
    results = {"problems": len(problems), "expand": config.expand, "eta": config.eta, "aggregate": config.aggregate,
               "seed": config.seed, "prefixes_scored_anew": prm.whole_rows,
               "points": [point.to_dict() for point in found], "paired": _paired(found)}
    save_png(out / "search.png", search_figure(found))
    with atomic_write(out / "search.json") as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    columns = ("N", "accuracy, %", "interval", "generated", "scored")
    print("method".ljust(14) + "".join(name.rjust(14) for name in columns))
    for point in found:
        print(point.method.ljust(14) + f"{point.n:14,}{100 * point.accuracy:14.1f}"
              + f"{100 * point.low:.1f}-{100 * point.high:.1f}".rjust(14)
              + f"{point.generated:14,.0f}{point.scored:14,.0f}"
              + (f"  {point.lost:,} candidates could not be read" if point.lost else ""))
    print(f"tokens are per problem{prm.note}; figure: {out / 'search.png'}; results: {out / 'search.json'}")


def _paired(points: Sequence[Point]) -> list[dict[str, Any]]:
    """Every two methods at each N, on the same problems; p-values uncorrected."""
    from erprm.statistics.bootstrap import Comparison, paired_test

    return [asdict(Comparison(first.method, second.method, first.n, paired_test(first.right, second.right)))
            for first, second in combinations(points, 2) if first.n == second.n]
