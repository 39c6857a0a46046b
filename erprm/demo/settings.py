"""What a run of the demo depends on, and the targets whose reward models it compares."""

from __future__ import annotations

from dataclasses import dataclass

from erprm.rows import StepRow
from erprm.values import Array, row_targets


@dataclass(frozen=True)
class DemoSettings:
    """Sizes are chosen for two cores and a quarter of an hour."""

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
    prm_steps: int = 2400  # at most; training ends where the validation score no longer rises
    evaluations: int = 24
    patience: int = 8
    prm_batch: int = 16
    prm_learning_rate: float = 5e-4
    heldout_problems: int = 300
    pool: int = 64  # candidates per held-out problem
    truth_problems: int = 40  # held-out problems with one solution labelled
    truth_completions: int = 64
    raft_samples: int = 16
    raft_steps: int = 150
    validation_problems: int = 100
    validation_completions: int = 16  # per prefix of one solution to each of them, for the score that ends training
    validation_pool: int = 16  # candidates on which each model's aggregation of step scores is chosen
    main: str = "er_eta_2"  # the target that weighs votes, guides RAFT and is compared with the others

    @property
    def targets(self) -> list[Target]:
        """The outcome model, soft and hard labels, and entropy-regularised ones for each eta."""
        return [Target("orm", "outcome"), Target("soft", "soft"), Target("hard", "hard"),
                *(Target(f"er_eta_{eta:g}", "er", eta) for eta in self.etas)]

    @property
    def models(self) -> dict[str, dict[str, object]]:
        """By name of each reward model what `erprm train` is told: one learns all etas."""
        return {target.model: {"target": target.kind, **({"eta": self.etas} if target.kind == "er" else {})}
                for target in self.targets}


SMOKE = DemoSettings(  # the whole in miniature: it shows that everything works here, and nothing else
    teach_problems=20, demonstrations=2, hidden=32, layers=1, sft_steps=4, label_problems=4, solutions=2, completions=4,
    prm_steps=4, heldout_problems=4, pool=4, truth_problems=2, truth_completions=4, raft_samples=2, raft_steps=1,
    validation_problems=4, validation_completions=4, validation_pool=4, evaluations=2)


@dataclass(frozen=True, slots=True)
class Target:
    """One kind of training target: its selector's name and how the counts become values.

    All models train on the same rows, contrasts among them. These are chosen by outcome, which biases no label but
    those that an outcome model gives to steps before the last. Labelling only the last step of a contrast instead was
    tried: an unbiased but far weaker outcome model, 12 % where this one reaches 43 % at best of 64.
    """

    name: str
    kind: str
    eta: float = 0.0

    @property
    def model(self) -> str:
        """The name of the reward model that learns it: one learns all etas."""
        return "er" if self.kind == "er" else self.name

    def values(self, row: StepRow) -> Array:
        """[L] float64: the targets of a labelled row."""
        return row_targets(row, self.kind, self.eta)
