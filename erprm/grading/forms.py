"""What an answer is read as: a leaf (an exact value with its unit, or words), a group of forms, or a relation."""

from __future__ import annotations

from dataclasses import dataclass

from erprm.grading.expressions import Expression
from erprm.grading.units import Unit


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value with its unit, or what could not be read as one (`value.terms` is None)."""

    text: str
    value: Expression
    unit: Unit


@dataclass(frozen=True, slots=True)
class Group:
    """Several forms. `kind`: "list", "set", "union" (in any order), "()", "[)", ..., "matrix 2 2", ":", "base"."""

    text: str
    kind: str
    items: tuple[Form, ...]

    @property
    def ordered(self) -> bool:
        """Whether the order of the items counts."""
        return self.kind not in ("list", "set", "union")


@dataclass(frozen=True, slots=True)
class Relation:
    """left `sign` right; `name` where the left side only names what the right side is."""

    text: str
    sign: str
    left: Form
    right: Form
    name: str


Form = Leaf | Group | Relation
