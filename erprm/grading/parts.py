"""What composed rewards are made of, over many completions: each part's mean, and whether it goes with accuracy.

    parts = PartsReport()
    parts.add({"accuracy": 1.0, "format": 1.0})
    print(parts)                    # rewards by part: accuracy 0.412; format 0.998 (correlation with accuracy -0.03)

A part that nearly every completion has while few are right is where a policy earns its reward without being right
(reward hacking); the report says so, and also when a part is the rarer the more are right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

_EVERYWHERE, _SELDOM = 0.99, 0.5  # mean of a part that is satisfied everywhere; of an accuracy that is low
_AGAINST = -0.1  # correlation of a part that goes against accuracy


@dataclass(slots=True)
class PartsReport:
    """Sums over completions.

    Attributes:
        count: completions.
        sums, squares, products: of each part, of its square, and of it with the first part.
    """

    count: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    squares: dict[str, float] = field(default_factory=dict)
    products: dict[str, float] = field(default_factory=dict)

    def add(self, parts: Mapping[str, float]) -> None:
        """One completion's; nothing for one without parts."""
        if not parts:
            return
        first = next(iter(parts.values())) if "accuracy" not in parts else parts["accuracy"]
        self.count += 1
        for name, value in parts.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.squares[name] = self.squares.get(name, 0.0) + value * value
            self.products[name] = self.products.get(name, 0.0) + value * first

    @property
    def first(self) -> str:
        """The part that the others are held against: accuracy, or else the first one."""
        return "accuracy" if "accuracy" in self.sums else next(iter(self.sums))

    def mean(self, part: str) -> float:
        """Of a part's rewards."""
        return self.sums[part] / self.count

    def correlation(self, part: str) -> float:
        """Of a part with the first one; NaN where one of them is the same for all."""
        spread = [max(0.0, self.squares[name] / self.count - self.mean(name) ** 2) for name in (part, self.first)]
        covariance = self.products[part] / self.count - self.mean(part) * self.mean(self.first)
        return covariance / math.sqrt(spread[0] * spread[1]) if min(spread) > 1e-12 else math.nan

    def __str__(self) -> str:
        if not self.count:
            return ""
        others = [name for name in self.sums if name != self.first]
        lines = ["rewards by part: " + "; ".join([f"{self.first} {self.mean(self.first):.3f}", *(
            f"{name} {self.mean(name):.3f} (correlation with {self.first} {self.correlation(name):.2f})"
            for name in others)])]
        for name in others:
            if self.mean(name) >= _EVERYWHERE and self.mean(self.first) < _SELDOM:
                lines.append(f"{name} is satisfied by {self.mean(name):.1%} while {self.first} is "
                             f"{self.mean(self.first):.3f}: it rewards completions that are not right")
            elif self.correlation(name) < _AGAINST:
                lines.append(f"{name} goes against {self.first}: more of it means less of that")
        return "\n".join(lines)
