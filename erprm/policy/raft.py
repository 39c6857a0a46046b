"""Reward-ranked fine-tuning in iterations (RAFT, arXiv 2304.06767): sample, score, keep the best, learn, evaluate.

    done = run_raft("models/policy", problems, heldout, "models/raft", tools, RAFTOptions(iterations=3),
                    SFTOptions(learning_rate=1e-5))
    done[-1].accuracy, done[-1].divergence                  # held-out pass@1, KL from the policy that it began with

Everything of iteration i lies in `OUT/iteration-i`: solutions.parquet, chosen.parquet, policy/, and iteration.json once
it is over. Killed, the same call goes on behind what is there whole.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from erprm.engines.base import Engine, Sampling
from erprm.engines.prompts import PromptTemplate
from erprm.errors import InputError
from erprm.files.json_files import kept_record, write_record
from erprm.files.writing import locked, remove_unfinished
from erprm.grading import GraderPool
from erprm.policy.divergence import divergence
from erprm.policy.fine_tuning import SFTOptions
from erprm.policy.preferences import best_solutions
from erprm.policy.raft_options import RAFTOptions
from erprm.policy.sft import train_sft
from erprm.problems import Problem
from erprm.rollouts.sample import sample_solutions
from erprm.rows import StepRow, read_rows, write_rows
from erprm.selection.aggregate import aggregate_all
from erprm.statistics.bootstrap import bootstrap_interval, paired_test
from erprm.values import Array


@dataclass(frozen=True, slots=True)
class Tools:
    """What an iteration works with: the policy at a folder as an engine, a scorer of rows [L] each, a grader."""

    engine: Callable[[Path], Engine]
    score: Callable[[Sequence[StepRow]], Sequence[Array]] | None
    grader: GraderPool
    sampling: Sampling
    template: PromptTemplate
    splitter: str = "newline"
    part_completions: int = 2048
    say: Callable[[str], object] = print


@dataclass(frozen=True, slots=True)
class Iteration:
    """What an iteration did; the 0th is the policy that was begun with.

    Attributes:
        sampled, chosen: solutions; right: the share of the chosen ones that are right.
        learning_rate, loss: of its training.
        accuracy, low, high: held-out pass@1 with its 95 % interval over problems; None without held-out problems.
        gain, gain_low, gain_high: the paired difference from the policy that was begun with.
        divergence, per_token: KL from that policy in nats, a solution and a token; None where it writes nothing.
    """

    number: int
    sampled: int = 0
    chosen: int = 0
    right: float | None = None
    learning_rate: float | None = None
    loss: float | None = None
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None
    divergence: float | None = None
    per_token: float | None = None

    def __str__(self) -> str:
        parts = [f"iteration {self.number}"]
        if self.number:
            share = "" if self.right is None else f", {100 * self.right:.1f} % of them right"
            parts.append(f"{self.chosen:,} of {self.sampled:,} solutions chosen{share}, rate "
                         f"{self.learning_rate:.2g}, loss {self.loss:.3f}")
        if self.accuracy is not None and self.low is not None and self.high is not None:
            parts.append(f"held-out pass@1 {100 * self.accuracy:.1f} % ({100 * self.low:.1f}-{100 * self.high:.1f})")
        if self.gain is not None and self.gain_low is not None and self.gain_high is not None:
            parts.append(f"gain {100 * self.gain:+.1f} ({100 * self.gain_low:+.1f} to {100 * self.gain_high:+.1f})")
        if self.divergence is not None:
            parts.append(f"KL {self.divergence:.3f} nats a solution, {self.per_token:.4f} a token")
        return ": ".join([parts[0], "; ".join(parts[1:])]) if parts[1:] else parts[0]


def choose(rows: Sequence[StepRow], options: RAFTOptions, score: Callable[[Sequence[StepRow]], Sequence[Array]] | None,
           ) -> list[StepRow]:
    """The solutions to learn: finished, by `options.rank_by`, at most `options.keep` different ones of each problem.

    Raises:
        InputError: where a reward model is needed and there is none.
    """
    if options.rank_by != "prm":
        rows = [row for row in rows if row.outcome == 1.0]
    if not rows:
        return []
    if options.rank_by == "correct":
        return best_solutions(rows, np.ones(len(rows)), keep=options.keep)
    if score is None:
        raise InputError(f"rank_by: {options.rank_by} needs a process reward model, found none")
    return best_solutions(rows, aggregate_all(score(rows), options.aggregate), options.minimum, options.keep)


def check_chosen(chosen: Sequence[StepRow], rows: Sequence[StepRow], options: RAFTOptions, place: str | Path) -> None:
    """Raises InputError, with what was asked of them, when none of the rows at `place` was chosen."""
    if not chosen:
        raise InputError(f"{place}: expected solutions to learn, found none of {len(rows):,} that are finished"
                         + (" and right" if options.rank_by != "prm" else "")
                         + (f" and score at least {options.minimum}" if options.minimum else ""))


def run_raft(policy: str | Path, problems: Sequence[Problem], heldout: Sequence[Problem], out: str | Path, tools: Tools,
             options: RAFTOptions, training: SFTOptions) -> list[Iteration]:
    """Improve the policy at `policy` for some iterations; the last one's lies in `OUT/iteration-N/policy`.

    Args:
        problems: that are sampled from; heldout: that are measured on, before and after every iteration; may be empty.
        training: of the first iteration; its learning rate decays.

    Raises:
        InputError: when nothing is chosen.
    """
    out, done = Path(out), []
    for number in range(options.iterations + 1):
        folder = out / f"iteration-{number}"
        record = kept_record(folder / "iteration.json", [field.name for field in dataclasses.fields(Iteration)])
        if record is None:
            folder.mkdir(parents=True, exist_ok=True)
            for place in (folder, folder / "policy"):
                remove_unfinished(place)
            found = Iteration(number)
            if number:
                found = _learn(folder, _policy_of(policy, out, number - 1), problems, tools, options, training, number)
            if heldout:
                found = _measure(found, policy, out, heldout, tools, options, training.seed)
            record = dataclasses.asdict(found)
            write_record(folder / "iteration.json", record)
        done.append(Iteration(**record))
        if number or heldout:
            tools.say(str(done[-1]))
    return done


def _policy_of(policy: str | Path, out: Path, number: int) -> Path:
    return out / f"iteration-{number}" / "policy" if number else Path(policy)


def _learn(folder: Path, policy: Path, problems: Sequence[Problem], tools: Tools, options: RAFTOptions,
           training: SFTOptions, number: int) -> Iteration:
    rows = _sampled(folder / "solutions.parquet", policy, problems, tools, options.n, training.seed + number)
    if not (folder / "chosen.parquet").is_file():
        chosen = choose(rows, options, tools.score)
        check_chosen(chosen, rows, options, folder)
        write_rows(folder / "chosen.parquet", chosen)
    chosen = list(read_rows(folder / "chosen.parquet"))
    rate = training.learning_rate * options.decay ** (number - 1)
    loss = kept_record(folder / "loss.json", ("loss",))
    if loss is None:
        report = train_sft(policy, chosen, folder / "policy", dataclasses.replace(training, learning_rate=rate),
                           tools.template, tools.splitter)
        loss = {"loss": report.loss}
        write_record(folder / "loss.json", loss)
    right = [row.outcome for row in chosen if row.outcome is not None]
    return Iteration(number, len(rows), len(chosen), float(np.mean(right)) if right else None, rate,
                     loss["loss"])


def _measure(found: Iteration, policy: str | Path, out: Path, heldout: Sequence[Problem], tools: Tools,
             options: RAFTOptions, seed: int) -> Iteration:
    ours = _policy_of(policy, out, found.number)
    folder = out / f"iteration-{found.number}"
    rows = _sampled(folder / "heldout.parquet", ours, heldout, tools, options.heldout_n, seed)
    accuracy = _by_problem(rows)
    low, high = bootstrap_interval(accuracy, seed=seed)
    measured: dict[str, Any] = {"accuracy": float(accuracy.mean()), "low": float(low), "high": float(high)}
    if found.number:
        gain = paired_test(accuracy, _by_problem(list(read_rows(out / "iteration-0" / "heldout.parquet"))), seed=seed)
        measured |= {"gain": gain.difference, "gain_low": gain.low, "gain_high": gain.high}
        if written := [row for row in rows if row.steps != ("",)]:
            far = divergence(ours, policy, written, tools.template, tools.splitter)
            measured |= {"divergence": far.solution, "per_token": far.token}
    return dataclasses.replace(found, **measured)


def _sampled(path: Path, policy: Path, problems: Sequence[Problem], tools: Tools, n: int, seed: int) -> list[StepRow]:
    if not path.is_file():
        engine = tools.engine(policy)
        try:
            sample_solutions(problems, engine, tools.sampling, path, tools.grader, n=n, seed=seed,
                             splitter=tools.splitter, part_completions=tools.part_completions)
        finally:
            engine.close()
    with locked(path):  # and with it goes the lock of a process that was killed behind its last row
        return list(read_rows(path))


def _by_problem(rows: Sequence[StepRow]) -> Array:
    """[P]: by problem, the share of right solutions."""
    outcomes: dict[str, list[float]] = {}
    for row in rows:
        outcomes.setdefault(row.problem_key, []).append(float(row.outcome or 0.0))
    return np.array([np.mean(values) for values in outcomes.values()])
