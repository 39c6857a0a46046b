"""The whole experiment in miniature, on two cores in about thirteen minutes.

    erprm demo --out runs/demo --seed 0

A small Llama is taught to search for solutions of a reasoning-gym task, step by step. Solutions are sampled from it,
and 16 completions from every prefix of theirs; the counts of right ones become targets (outcome, soft, hard,
entropy-regularised for every eta in one model), a process reward model is trained on each until it is no better on
validation solutions, and best-of-N on held-out problems compares them. One round of RAFT improves the policy. The
report is runs/demo/report.html, its numbers are in results.json beside it. Commands that don't wait for each other run
side by side, a thread each; what they say is in runs/demo/logs.

Interrupted, the same command goes on where it stopped. One seed is one draw: --seeds 3 runs three, in folders of their
own, and summarises them. --full runs five seeds, seven values of eta and a second, non-mathematical task, and takes
hours. --smoke does every stage at toy size, which shows that all of it works here.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from erprm.cli.config import option
from erprm.demo import recipe
from erprm.demo.settings import SMOKE, DemoSettings
from erprm.options import LARGEST_SEED

_DEFAULTS = DemoSettings()
FULL_ETAS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 50.0)
FULL_TASKS = ("countdown", "graph_color")
FULL_SEEDS = 5


@dataclass(frozen=True)
class Config:
    """Options of `erprm demo`."""

    out: str = option("runs/demo", help="folder of the run", writes="folder")
    seed: int = option(_DEFAULTS.seed, help="seed of problems, models and samples", least=0, most=LARGEST_SEED - 10)
    seeds: int = option(1, least=1, help="how many runs, with this seed and the ones after it")
    task: str = option(_DEFAULTS.task, help="countdown or graph_color", choices=FULL_TASKS)
    full: bool = option(False, help="five seeds, seven etas, two tasks")
    teach_problems: int = option(_DEFAULTS.teach_problems, least=1, help="problems that demonstrations are shown of")
    sft_steps: int = option(_DEFAULTS.sft_steps, least=1, help="optimiser steps of the policy")
    label_problems: int = option(_DEFAULTS.label_problems, least=1, help="problems whose solutions are labelled")
    solutions: int = option(_DEFAULTS.solutions, least=1, help="solutions per labelled problem")
    completions: int = option(_DEFAULTS.completions, least=1, help="completions per prefix, n")
    prm_steps: int = option(_DEFAULTS.prm_steps, least=1, help="optimiser steps of each reward model at most")
    heldout_problems: int = option(_DEFAULTS.heldout_problems, least=1, help="held-out problems")
    pool: int = option(_DEFAULTS.pool, least=1, help="candidates per held-out problem")
    truth_problems: int = option(_DEFAULTS.truth_problems, least=1, help="held-out solutions with sampled step values")
    raft_steps: int = option(_DEFAULTS.raft_steps, least=1, help="optimiser steps of RAFT")
    smoke: bool = option(False, help="every stage at toy size, in a minute: whether all of it works here")
    dry_run: bool = option(False, help="print what would be done, and stop")


def run(config: Config) -> None:
    """One run, or with `full` all of them and a summary."""
    names = {field.name for field in dataclasses.fields(DemoSettings)}
    chosen = {name: value for name, value in dataclasses.asdict(config).items() if name in names}
    settings = DemoSettings(**chosen)
    if config.smoke:
        settings = dataclasses.replace(SMOKE, task=config.task, seed=config.seed)
    out, seeds = Path(config.out), range(config.seed, config.seed + (FULL_SEEDS if config.full else config.seeds))
    runs = {out: settings}
    if config.full:
        runs = {out / task / f"seed-{seed}": dataclasses.replace(settings, task=task, seed=seed, etas=FULL_ETAS)
                for task in FULL_TASKS for seed in seeds}
    elif config.seeds > 1:
        runs = {out / f"seed-{seed}": dataclasses.replace(settings, seed=seed) for seed in seeds}
    if config.dry_run:
        for folder, each in runs.items():
            print(_plan(folder, each))
        return
    reports = [recipe.run(folder, each) for folder, each in runs.items()]
    if len(runs) > 1:
        from erprm.demo.summary import write_summary

        reports.append(write_summary(out, list(runs)))
    print(f"report: {reports[-1]}")


def _plan(folder: Path, settings: DemoSettings) -> str:
    prefixes = settings.label_problems * settings.solutions * 3
    return (f"demo: {settings.task}, seed {settings.seed}, into {folder}: {settings.sft_steps:,} steps of SFT, at most "
            f"{prefixes:,} prefixes x {settings.completions} completions, {len(settings.models)} reward models of at "
            f"most {settings.prm_steps:,} steps, a pool of {settings.heldout_problems:,} x {settings.pool}\n"
            f"settings: {json.dumps(dataclasses.asdict(settings))}")
