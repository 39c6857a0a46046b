"""The demo as a recipe: problems, policy, solutions, labels, four PRMs, best-of-N, RAFT, report; and the loop over it.

    report = run(Path("runs/demo"), DemoSettings(seed=0))

Each part of a stage is a command of `erprm` with its options, several that run side by side, or a short function for
what no command does: making problems and an untrained policy, choosing, drawing. All files lie in the run's folder.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from erprm.demo import outcome
from erprm.demo.commands import Command, command, together
from erprm.demo.policy import demonstrations, write_untrained
from erprm.demo.settings import DemoSettings
from erprm.demo.stages import Stages
from erprm.files.progress import progress
from erprm.files.writing import locked
from erprm.problems import check_disjoint, read_problems, write_problems
from erprm.problems.tasks import Task, task
from erprm.rows import read_rows, write_rows

Stage = tuple[str, list[Callable[[], object]]]


def run(folder: Path, settings: DemoSettings) -> Path:
    """All stages that are still to be done; returns the path of the report.

    Raises:
        InputError: when another process runs in the folder, or it holds a run with other settings.
    """
    with locked(folder):
        stages = Stages(folder, dataclasses.asdict(settings) | {"etas": list(settings.etas)})
        for name, parts in recipe(folder, settings):
            stages.run(name, parts)
        return outcome.write_outcome(folder, settings, stages.seconds)


@dataclass(frozen=True)
class Lab:
    """The folder of a run and its settings: what a stage is made of, and the stages before any reward model."""

    folder: Path
    settings: DemoSettings

    @property
    def task(self) -> Task:
        """The family of problems."""
        return task(self.settings.task)

    @property
    def rows(self) -> Path:
        """What reward models train on."""
        return self.folder / "training.parquet"

    def model(self, name: str) -> Path:
        """A model's folder."""
        return self.folder / "models" / name

    def problems(self, split: str) -> Path:
        """The problems of one of the four disjoint sets: teach, label, validation, heldout."""
        return self.folder / "problems" / f"{split}.jsonl"

    def sampled(self, split: str, n: int, name: str, seed: int, policy: str = "policy") -> Command:
        """`n` solutions to each problem of a set, into NAME.parquet."""
        return command("sample", problems=self.problems(split), policy=self.model(policy), n=n, seed=seed,
                       max_tokens=self.task.max_tokens, out=self.folder / f"{name}.parquet")

    def labelled(self, split: str, solutions: str, n: int, out: str, **more: Any) -> Command:
        """`n` completions from each prefix of those solutions, into OUT/rows.parquet."""
        return command("label", problems=self.problems(split), solutions=self.folder / f"{solutions}.parquet", n=n,
                       policy=self.model("policy"), seed=self.settings.seed, max_tokens=self.task.max_tokens,
                       splitter="newline", out=self.folder / out, **more)

    def trained(self, out: Path, rows: Path, seed: int, **more: Any) -> Command:
        """A reward model from the policy, trained until it is no better on validation rows; `more`: what it learns."""
        settings = self.settings
        return command("train", **{
            "model": self.model("policy"), "data": rows, "out": out,
            "eval": self.folder / "validation-labels" / "rows.parquet", "max_steps": settings.prm_steps,
            "evaluations": settings.evaluations, "patience": settings.patience, "batch_size": settings.prm_batch,
            "weight_decay": 0.01, "warmup": 30, "learning_rate": settings.prm_learning_rate, "seed": seed} | more)

    def foundation(self, *more: Command) -> Iterator[Stage]:
        """Problems, a policy that was taught them, and what it says: solutions, rows with the counts of completions,
        pools of candidates, and what `more` ask of it."""
        settings, seed = self.settings, self.settings.seed
        shown = self.folder / "demonstrations.jsonl"
        yield "problems", [partial(_make_problems, self.task, self.problems, settings)]
        yield "policy", [
            partial(write_untrained, self.model("untrained"), self.task, seed, settings.hidden, settings.layers),
            lambda: write_rows(shown, demonstrations(self.task, read_problems(self.problems("teach")),
                                                     settings.demonstrations, settings.wandering, seed)),
            command("sft", model=self.model("untrained"), data=shown, out=self.model("policy"),
                    max_steps=settings.sft_steps, learning_rate=3e-3, seed=seed)]
        yield "solutions", [self.sampled("label", settings.solutions, "solutions", seed),
                            self.sampled("validation", 1, "validation-solutions", seed + 5)]
        yield "labels and pools", [
            self.together(
                self.labelled("label", "solutions", settings.completions, "labels", contrast=settings.contrast),
                self.sampled("heldout", settings.pool, "pool", seed + 1),
                *more,
                self.sampled("validation", settings.validation_pool, "validation", seed + 4),
                self.labelled("validation", "validation-solutions", settings.validation_completions,
                              "validation-labels")),
            partial(_join, [self.folder / "labels" / "rows.parquet", self.folder / "labels" / "contrast.parquet"],
                    self.rows)]

    def together(self, *commands: Command) -> Callable[[], None]:
        """A part of a stage: commands side by side, the longest first."""
        return together(commands, self.folder / "logs")


def recipe(folder: Path, settings: DemoSettings) -> Iterator[Stage]:
    """The stages with their parts. What a later stage is told depends on files of earlier ones: one at a time."""
    lab, targets, seed = Lab(folder, settings), settings.targets, settings.seed

    def scored(rows: Path, name: str) -> list[Callable[[], object]]:
        return [command("score", model=lab.model(f"prm-{model}"), rows=rows, out=outcome.scored(folder, name, model))
                for model in settings.models]

    yield from lab.foundation(lab.sampled("label", settings.raft_samples, "raft-solutions", seed + 2))
    yield "reward models", [lab.together(*(lab.trained(lab.model(f"prm-{model}"), lab.rows, seed, **learnt)
                                           for model, learnt in settings.models.items()))]
    yield "validation", [*scored(folder / "validation.parquet", "validation"),
                         partial(outcome.choose_aggregations, folder, targets)]
    yield "scores", scored(folder / "pool.parquet", "pool")
    yield "truth", [
        lambda: write_rows(folder / "truth.parquet", outcome.some_of_each(
            list(read_rows(folder / "pool.parquet")), settings.truth_problems, seed)),
        lab.labelled("heldout", "truth", settings.truth_completions, "truth"),
        *scored(folder / "truth" / "rows.parquet", "truth")]
    main = next(target for target in targets if target.name == settings.main)
    yield "raft", [
        command("raft", policy=lab.model("policy"), prm=lab.model(f"prm-{main.model}"), seed=seed,
                solutions=folder / "raft-solutions.parquet", out=lab.model("policy-raft"), warmup_steps=10,
                aggregate=outcome.aggregations(folder, targets)[main.name], max_steps=settings.raft_steps,
                learning_rate=5e-4, **({"prm_eta": main.eta} if main.kind == "er" else {})),
        lab.sampled("heldout", settings.raft_samples, "pool-raft", seed + 3, "policy-raft")]


def _make_problems(chosen: Task, path: Callable[[str], Path], settings: DemoSettings) -> None:
    """Four disjoint sets from reasoning-gym's generator."""
    sizes = {"heldout": settings.heldout_problems, "validation": settings.validation_problems,
             "label": settings.label_problems, "teach": settings.teach_problems}
    with progress("problems", sum(sizes.values()), "problems") as bar:
        splits = chosen.splits(sizes, settings.seed, bar.advance)
    check_disjoint(splits)
    for name, problems in splits.items():
        write_problems(path(name), problems)


def _join(sources: list[Path], out: Path) -> None:
    """The rows of all `sources` in one file."""
    write_rows(out, itertools.chain.from_iterable(map(read_rows, sources)))
