"""The demo, stage by stage: problems, policy, solutions, labels, five PRMs, best-of-N, RAFT, report.

Every stage reads and writes files in the run's folder that a person can open and that the commands `erprm sample`,
`label`, `train`, `score` and so on read and write too.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from erprm.demo import outcome
from erprm.demo.outcome import Target, targets_of
from erprm.demo.policy import demonstrations, write_untrained
from erprm.demo.stages import Stages
from erprm.engines import Sampling, load_engine
from erprm.files.progress import progress
from erprm.grading import GraderPool
from erprm.policy.preferences import best_solutions
from erprm.policy.sft import SFTOptions, train_sft
from erprm.problems import Problem, check_disjoint, read_problems, write_problems
from erprm.problems.tasks import Task, task
from erprm.rollouts.contrast import contrast_rows
from erprm.rows import StepRow, read_rows, write_rows
from erprm.selection.aggregate import aggregate_all
from erprm.steps import StepTags


@dataclass(frozen=True)
class DemoSettings:
    """What a run depends on. Sizes are chosen for two cores and fifteen minutes."""

    seed: int = 0
    task: str = "countdown"
    etas: tuple[float, ...] = (2.0, 10.0)
    teach_problems: int = 4000
    demonstrations: int = 7  # per teaching problem
    wandering: float = 0.3
    hidden: int = 96
    layers: int = 4
    sft_steps: int = 1500
    label_problems: int = 600
    solutions: int = 4  # per labelled problem
    completions: int = 16  # n, per prefix
    contrast: int = 4  # right and wrong completions per prefix that become training rows
    prm_steps: int = 800
    prm_batch: int = 32
    prm_learning_rate: float = 5e-4
    heldout_problems: int = 300
    pool: int = 64  # candidates per held-out problem
    truth_problems: int = 40  # held-out problems with one solution labelled
    truth_completions: int = 64
    raft_samples: int = 16
    raft_steps: int = 150
    validation_problems: int = 100
    validation_pool: int = 16  # candidates on which each model's aggregation of step scores is chosen
    main: str = "er_eta_2"  # the target that weighs votes, guides RAFT and is compared with the others


class Demo:
    """One run in one folder."""

    def __init__(self, folder: Path, settings: DemoSettings) -> None:
        self.folder, self.settings = folder, settings
        self.task: Task = task(settings.task)
        self.targets: list[Target] = targets_of(settings.etas)
        self.stages = Stages(folder, dataclasses.asdict(settings) | {"etas": list(settings.etas)})
        self.sampling = Sampling(max_tokens=self.task.max_tokens)

    def run(self) -> Path:
        """All stages that are still to be done; returns the path of the report."""
        for name, work in (
            ("problems", self.make_problems), ("policy", self.teach_policy), ("solutions", self.sample_solutions),
            ("labels", self.label_prefixes), ("reward models", self.train_reward_models),
            ("validation", self.choose_aggregation), ("held-out pool", self.sample_pool),
            ("scores", self.score_pool), ("truth", self.label_truth), ("raft", self.improve_policy),
        ):
            self.stages.run(name, work)
        return self.report()

    # ---- files ----

    def problems(self, split: str) -> list[Problem]:
        """The problems of "teach", "label", "validation" or "heldout"."""
        return read_problems(self.folder / "problems" / f"{split}.jsonl")

    def rows(self, name: str) -> list[StepRow]:
        """The rows of a stage."""
        return list(read_rows(self.folder / name))

    def model(self, name: str) -> Path:
        """The folder of a policy or reward model."""
        return self.folder / "models" / name

    @cached_property
    def held_out(self) -> dict[str, Problem]:
        """Held-out problems by id."""
        return {problem.id: problem for problem in self.problems("heldout")}

    # ---- stages ----

    def make_problems(self) -> None:
        """Four disjoint sets from reasoning-gym's generator."""
        settings = self.settings
        sizes = {"heldout": settings.heldout_problems, "validation": settings.validation_problems,
                 "label": settings.label_problems, "teach": settings.teach_problems}
        with progress("problems", sum(sizes.values()), "problems") as bar:
            splits = self.task.splits(sizes, settings.seed, bar.advance)
        check_disjoint(splits)
        for name, problems in splits.items():
            write_problems(self.folder / "problems" / f"{name}.jsonl", problems)

    def teach_policy(self) -> None:
        """A small Llama learns the steps from demonstrations, a part of which wander."""
        settings = self.settings
        untrained = self.model("untrained")
        write_untrained(untrained, self.task, settings.seed, settings.hidden, settings.layers)
        rows = list(demonstrations(self.task, self.problems("teach"), settings.demonstrations, settings.wandering,
                                   settings.seed))
        write_rows(self.folder / "demonstrations.jsonl", rows)
        train_sft(untrained, rows, self.model("policy"),
                  SFTOptions(max_steps=settings.sft_steps, learning_rate=3e-3, seed=settings.seed))

    def sample_solutions(self) -> None:
        """Solutions to the problems whose steps will be labelled."""
        self._sample("label", "policy", self.settings.solutions, "solutions.parquet", self.settings.seed)

    def label_prefixes(self) -> None:
        """n completions of every distinct unfinished prefix, graded and counted."""
        self._label("solutions.parquet", "labels", self.settings.completions, "label")
        rows = contrast_rows(self.folder / "labels", self.rows("labels/rows.parquet"), self.settings.contrast)
        write_rows(self.folder / "labels" / "contrast.parquet", (self._untagged(row) for row in rows))

    def train_reward_models(self) -> None:
        """One PRM per target, from the policy's weights, with the same rows, budget and order."""
        from erprm.prm.training.config import PRMConfig
        from erprm.prm.training.trainer import PRMTrainer

        settings = self.settings
        rows = self.rows("labels/rows.parquet") + self.rows("labels/contrast.parquet")
        for target in self.targets:
            out = self.model(f"prm-{target.name}")
            if (out / "erprm.json").is_file():
                continue
            trainer = PRMTrainer(str(self.model("policy")), PRMConfig(
                output_dir=str(out), target=target.kind, eta=target.eta, max_steps=settings.prm_steps,
                per_device_train_batch_size=settings.prm_batch, learning_rate=settings.prm_learning_rate,
                lr_scheduler_type="cosine", warmup_steps=30, weight_decay=0.01, save_strategy="no", logging_steps=100,
                seed=settings.seed, report_to="none"), rows)
            trainer.train()
            trainer.save_merged(out)

    def choose_aggregation(self) -> None:
        """How each model's step scores become one number: what serves best-of-N on problems of their own."""
        self._sample("validation", "policy", self.settings.validation_pool, "validation.parquet",
                     self.settings.seed + 4)
        rows = self.rows("validation.parquet")
        chosen = {}
        for target in self.targets:
            self._score(rows, f"prm-{target.name}", f"scores-validation-{target.name}.npz")
            chosen[target.name] = outcome.best_aggregation(rows, self._scores(f"scores-validation-{target.name}.npz"))
        (self.folder / "aggregation.json").write_text(json.dumps(chosen, indent=2) + "\n", encoding="utf-8")

    def sample_pool(self) -> None:
        """The candidates for best-of-N."""
        self._sample("heldout", "policy", self.settings.pool, "pool.parquet", self.settings.seed + 1)

    def score_pool(self) -> None:
        """Step scores of the pool by every PRM."""
        rows = self.rows("pool.parquet")
        for target in self.targets:
            self._score(rows, f"prm-{target.name}", f"scores-pool-{target.name}.npz")

    def label_truth(self) -> None:
        """Monte-Carlo values of the steps of some held-out solutions, and their scores."""
        settings = self.settings
        rows = self.rows("pool.parquet")
        kept = outcome.some_of_each(rows, settings.truth_problems, settings.seed)
        write_rows(self.folder / "truth.parquet", kept)
        self._label("truth.parquet", "truth", settings.truth_completions, "heldout")
        rows = self.rows("truth/rows.parquet")
        for target in self.targets:
            self._score(rows, f"prm-{target.name}", f"scores-truth-{target.name}.npz")

    def improve_policy(self) -> None:
        """RAFT: fine-tune the policy on its best-scored solutions to the labelled problems."""
        settings = self.settings
        self._sample("label", "policy", settings.raft_samples, "raft-solutions.parquet", settings.seed + 2)
        rows = self.rows("raft-solutions.parquet")
        self._score(rows, f"prm-{settings.main}", "scores-raft.npz")
        reduced = aggregate_all(self._scores("scores-raft.npz"), self._aggregation()[settings.main])
        chosen = best_solutions(rows, reduced)
        write_rows(self.folder / "raft-chosen.parquet", chosen)
        train_sft(self.model("policy"), chosen, self.model("policy-raft"),
                  SFTOptions(max_steps=settings.raft_steps, learning_rate=5e-4, warmup_steps=10, seed=settings.seed))
        self._sample("heldout", "policy-raft", settings.raft_samples, "pool-raft.parquet", settings.seed + 3)

    def report(self) -> Path:
        """results.json, the figures and report.html."""
        settings = self.settings
        pool, truth = self.rows("pool.parquet"), self.rows("truth/rows.parquet")
        scores = {target.name: self._scores(f"scores-pool-{target.name}.npz") for target in self.targets}
        known = {target.name: self._scores(f"scores-truth-{target.name}.npz") for target in self.targets}
        main = next(target for target in self.targets if target.name == settings.main)
        aggregation = self._aggregation()
        curves = outcome.pool_curves(pool, scores, aggregation, settings.main, settings.seed)
        results = {
            "seed": settings.seed, "task": settings.task, "problems": settings.heldout_problems,
            "policy": {"parameters": self._parameters(), "pass@1": float(outcome.pass_at_1(pool).mean())},
            "labels": self._label_counts(),
            "aggregation": aggregation,
            "best_of_n": curves.table(),
            "raft": outcome.raft_result(pool, self.rows("pool-raft.parquet"), settings.seed),
            "seconds": self.stages.seconds,
        }
        return outcome.write_results(
            self.folder, results, calibration=outcome.calibrations(truth, known, self.targets),
            shown=outcome.examples(truth, known[main.name], main, self.held_out),
            paired=outcome.comparisons(curves, self.targets, settings.main))

    # ---- shared parts of stages ----

    def _sample(self, split: str, policy: str, n: int, name: str, seed: int) -> None:
        """n solutions to each problem of a split, into the file `name`."""
        from erprm.rollouts.sample import sample_solutions

        engine = load_engine("transformers", str(self.model(policy)))
        with GraderPool() as grader:
            report = sample_solutions(self.problems(split), engine, self.sampling, self.folder / name, grader, n=n,
                                      seed=seed)
        engine.close()
        rows = self.rows(name)
        write_rows(self.folder / name, map(self._untagged, rows))
        print(report)

    def _label(self, source: str, place: str, n: int, split: str) -> None:
        """Count the right ones among n completions of every prefix in `source`."""
        from erprm.rollouts.run import LabelOptions, label

        engine = load_engine("transformers", str(self.model("policy")))
        with GraderPool() as grader:
            report = label(self.problems(split), self.rows(source), engine, self.sampling, self.folder / place, grader,
                           LabelOptions(n=n, seed=self.settings.seed), str(self.folder / source))
        engine.close()
        print(report)

    @staticmethod
    def _untagged(row: StepRow) -> StepRow:
        """A policy that knows the step tag as a token may write it; a reward model could not tell it from its own."""
        tag = StepTags().tag
        if not any(tag in step for step in row.steps):
            return row
        return dataclasses.replace(row, steps=tuple(step.replace(tag, "?") for step in row.steps))

    def _aggregation(self) -> dict[str, str]:
        chosen: dict[str, str] = json.loads((self.folder / "aggregation.json").read_text(encoding="utf-8"))
        return chosen

    def _score(self, rows: Sequence[StepRow], model: str, name: str) -> None:
        from erprm.prm.scoring.scorer import PRMScorer

        with progress(f"scoring, {model}", len(rows), "solutions") as bar:
            scores = PRMScorer(self.model(model)).score(rows, bar.advance)
        np.savez(self.folder / name, scores=np.concatenate(scores), lengths=[len(part) for part in scores])

    def _scores(self, name: str) -> list[Any]:
        with np.load(self.folder / name) as stored:
            return np.split(stored["scores"], np.cumsum(stored["lengths"])[:-1])

    def _parameters(self) -> int:
        from safetensors import safe_open

        with safe_open(self.model("policy") / "model.safetensors", "np") as weights:
            return sum(int(np.prod(weights.get_slice(key).get_shape())) for key in weights.keys())  # noqa: SIM118

    def _label_counts(self) -> dict[str, int]:
        rows = self.rows("labels/rows.parquet")
        counts = {(row.problem_id, row.steps[:length]): row.trials[length - 1]  # type: ignore[index]
                  for row in rows for length in range(1, len(row.steps) + (not row.finished))}
        return {"prefixes": sum(len(row.steps) for row in rows), "completions": sum(counts.values()),
                "distinct_prefixes": len(counts)}
