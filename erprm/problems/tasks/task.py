"""`Task`: a family of problems that a policy can be taught, with demonstrations and a check of its steps."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from erprm.errors import InputError
from erprm.problems.problem import Problem

ANSWER = "The answer is "
Metadata = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Task:
    """One family of problems.

    Attributes:
        name: reasoning-gym's name of the data set.
        options: the generator's options.
        question: the short form of the question, from an entry's metadata, that the policy is given.
        key: what makes two problems the same, from an entry's metadata.
        demonstrate: (metadata, random source, wandering) -> the steps of one demonstration, the answer last; None when
            the problem has no solution in the steps that the policy knows.
        first_wrong: (metadata, steps) -> the number of the first step, from 0, that is no step of the task or after
            which the answer can no longer be reached; None where there is none. By exact search, no model.
        words: the tokenizer's words besides the numbers 0 to 99 and single signs.
        max_tokens: an upper bound of a solution's length in tokens.
        answer: the reference as the policy writes it, from an entry's metadata; None: the entry's own.
        grader: "exact" where `answer` is the only right one; None: the entry's own verifier.
    """

    name: str
    options: Mapping[str, Any]
    question: Callable[[Metadata], str]
    key: Callable[[Metadata], object]
    demonstrate: Callable[[Metadata, random.Random, float], list[str] | None]
    first_wrong: Callable[[Metadata, Sequence[str]], int | None]
    words: tuple[str, ...]
    max_tokens: int
    answer: Callable[[Metadata], str] | None = None
    grader: str | None = None

    def splits(self, sizes: Mapping[str, int], seed: int, advance: Callable[[int], object] = lambda found: None,
               ) -> dict[str, list[Problem]]:
        """Disjoint lists of solvable problems, of the sizes asked for, from one stream of the generator.

        Args:
            sizes: problems per list.
            seed: of the generator; different seeds share no problem ids.
            advance: called with the number of problems found, as they are.

        Raises:
            InputError: when the generator has too few different problems.
        """
        import reasoning_gym

        wanted = sum(sizes.values())
        stream = reasoning_gym.create_dataset(self.name, size=20 * wanted, seed=seed * 1_000_003 + 1, **self.options)
        seen: set[object] = set()
        found: list[Problem] = []
        for index in range(20 * wanted):
            if len(found) == wanted:
                break
            entry = stream[index]
            metadata = entry["metadata"]
            key = self.key(metadata)
            if key in seen:
                continue
            seen.add(key)
            if self.demonstrate(metadata, random.Random(0), 0.0) is None:
                continue
            found.append(Problem(id=f"{self.name}-{seed}-{index}", question=self.question(metadata),
                                 answer=self.answer(metadata) if self.answer else str(entry["answer"]),
                                 grader=self.grader or f"reasoning-gym:{self.name}", metadata=metadata))
            advance(1)
        if len(found) < wanted:
            raise InputError(f"{self.name}: expected {wanted} different problems, the generator gave {len(found)}")
        random.Random(seed).shuffle(found)
        stream_of_problems = iter(found)
        return {name: list(itertools.islice(stream_of_problems, size)) for name, size in sizes.items()}
