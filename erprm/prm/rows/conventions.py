"""How a published PRM wants a solution written: a row in, token ids and the positions where steps are scored out.

    convention = Shepherd(tokenizer)
    row = convention.encode([("2+3*4?", ["Step 1: 3*4=12", "Step 2: 2+12=14"])])[0]
    row.tag_positions                                 # where the hidden state of each step is read

`TaggedSteps` is erprm's own, the one that training uses; the others reproduce the ids of the published scoring code of
each family exactly. Rows end at the last position that is read: what stands behind it can't change a score under causal
attention. Every position is the one whose hidden state gives the score, whatever stands there (a tag, a separator, or,
for RLHFlow, the token before the answer "+").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from transformers import PreTrainedTokenizerBase

from erprm.errors import InputError
from erprm.prm.rows.tokens import EncodedRow, StepTokens, encode_rows

Texts = tuple[str, Sequence[str]]  # a problem and its steps

QWEN_SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."
QWEN_STEP = "<extra_0>"
SHEPHERD_TAG = "ки"
_HOLE = "\ue000"  # stands for an assistant's turn while a chat template is filled in


class Convention(Protocol):
    """Turns rows into ids."""

    def encode(self, rows: Sequence[Texts]) -> list[EncodedRow]:
        """One `EncodedRow` per row, with one position per step. Raises InputError."""


@dataclass(frozen=True, slots=True)
class TaggedSteps:
    """erprm's own rows (`erprm.prm.rows.tokens`), for checkpoints of either own form."""

    tokenizer: PreTrainedTokenizerBase
    tokens: StepTokens

    def encode(self, rows: Sequence[Texts]) -> list[EncodedRow]:
        """See `encode_rows`."""
        return encode_rows(self.tokenizer, self.tokens, rows)


@dataclass(frozen=True, slots=True)
class Shepherd:
    """Math-Shepherd: "problem step ки\\nstep ки", tokenised as one text; each "ки" is read.

    Its steps begin "Step 1: " and so on; they are taken as they are given.
    """

    tokenizer: PreTrainedTokenizerBase
    tag_id: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tag_id", int(_plain(self.tokenizer, SHEPHERD_TAG)[-1]))

    @property
    def label_ids(self) -> tuple[int, int]:
        """Ids of "+" and "-" as the words of one text."""
        plus, minus = _plain(self.tokenizer, "+ -")[-2:]
        return plus, minus

    def encode(self, rows: Sequence[Texts]) -> list[EncodedRow]:
        """Raises InputError when the number of tags isn't the number of steps."""
        return _at_tags(lambda texts: self.tokenizer(texts).input_ids, self._text, rows, SHEPHERD_TAG, self.tag_id)

    @staticmethod
    def _text(prompt: str, steps: Sequence[str]) -> str:
        return f"{prompt} " + "\n".join(f"{step} {SHEPHERD_TAG}" for step in steps)


@dataclass(frozen=True, slots=True)
class ChatTurns:
    """RLHFlow: the problem with the first step, then each step, is a user's turn that the assistant answers with "+".

    The score is read where the assistant's answer is predicted. Earlier answers are "+", as in the published scoring.
    """

    tokenizer: PreTrainedTokenizerBase

    @property
    def label_ids(self) -> tuple[int, int]:
        """Ids of "+" and "-"."""
        return _plain(self.tokenizer, "+")[-1], _plain(self.tokenizer, "-")[-1]

    def encode(self, rows: Sequence[Texts]) -> list[EncodedRow]:
        """Raises InputError where the chat template doesn't write an answer for each step."""
        plus = self.label_ids[0]
        encoded = []
        for prompt, steps in rows:
            turns = []
            for number, step in enumerate(steps):
                turns += [{"role": "user", "content": step if number else f"{prompt} {step}"},
                          {"role": "assistant", "content": _HOLE}]
            pieces = _rendered(self.tokenizer, turns).split(_HOLE)
            if len(pieces) != len(steps) + 1:
                raise InputError(f"chat template: expected one answer per step ({len(steps)}), found {len(pieces) - 1}")
            ids: list[int] = []
            positions = []
            for piece in self.tokenizer(pieces[:-1], add_special_tokens=False).input_ids:
                ids += piece
                positions.append(len(ids) - 1)
                ids.append(plus)
            encoded.append(EncodedRow(np.asarray(ids[:-1], np.int64), np.asarray(positions, np.int64)))
        return encoded


@dataclass(frozen=True, slots=True)
class QwenMath:
    """Qwen2.5-Math-PRM: system, user and assistant turns; "<extra_0>" behind each step of the assistant's is read."""

    tokenizer: PreTrainedTokenizerBase
    step_id: int = field(init=False)

    def __post_init__(self) -> None:
        ids = _plain(self.tokenizer, QWEN_STEP)
        if len(ids) != 1:
            raise InputError(f"tokenizer: expected {QWEN_STEP!r} as one token, found {len(ids)}; it is not that of "
                             "Qwen2.5-Math-PRM")
        object.__setattr__(self, "step_id", ids[0])

    def encode(self, rows: Sequence[Texts]) -> list[EncodedRow]:
        """Raises InputError when the number of separators isn't the number of steps."""
        return _at_tags(lambda texts: self.tokenizer(texts, add_special_tokens=False).input_ids, self._text, rows,
                        QWEN_STEP, self.step_id)

    def _text(self, prompt: str, steps: Sequence[str]) -> str:
        return _rendered(self.tokenizer, [
            {"role": "system", "content": QWEN_SYSTEM}, {"role": "user", "content": prompt},
            {"role": "assistant", "content": QWEN_STEP.join(steps) + QWEN_STEP}])


@dataclass(frozen=True, slots=True)
class LineSteps:
    """Skywork-o1: beginning-of-sequence, the problem, a line end; then each line of each step and a line end.

    The line end behind a step is read. Each line is tokenised on its own.
    """

    tokenizer: PreTrainedTokenizerBase

    def encode(self, rows: Sequence[Texts]) -> list[EncodedRow]:
        """Raises InputError where the tokenizer has no beginning-of-sequence token."""
        if self.tokenizer.bos_token is None:
            raise InputError("tokenizer: the Skywork form needs a beginning-of-sequence token, found none")
        end = _plain(self.tokenizer, "\n")[-1]
        encoded = []
        for prompt, steps in rows:
            lines = [[line for line in step.split("\n") if line] for step in steps]
            ids = list(self.tokenizer(self.tokenizer.bos_token + prompt + "\n").input_ids)
            positions = []
            for number, step_lines in enumerate(lines, start=1):
                if not step_lines:
                    raise InputError(f"step {number}: expected text, found an empty step")
                for line in self.tokenizer(step_lines).input_ids:
                    ids += [*line, end]
                positions.append(len(ids) - 1)
            encoded.append(EncodedRow(np.asarray(ids, np.int64), np.asarray(positions, np.int64)))
        return encoded


@dataclass(frozen=True, slots=True)
class SeparatedSteps:
    """TRL's PRMTrainer: beginning-of-sequence, prompt, then each completion and the separator, tokenised one by one.

    The last token of the separator is read (the last of the step where the separator is empty).
    """

    tokenizer: PreTrainedTokenizerBase
    separator: str = "\n"

    def encode(self, rows: Sequence[Texts]) -> list[EncodedRow]:
        """Raises InputError for a step that gives no token to read."""
        bos = self.tokenizer.bos_token_id
        gap = _plain(self.tokenizer, self.separator)
        encoded = []
        for prompt, steps in rows:
            texts = self.tokenizer([prompt, *steps], add_special_tokens=False).input_ids
            ids = ([] if bos is None else [bos]) + list(texts[0])
            positions = []
            for number, step in enumerate(texts[1:], start=1):
                if not step and not gap:
                    raise InputError(f"step {number}: expected text, found an empty step")
                ids += [*step, *gap]
                positions.append(len(ids) - 1)
            encoded.append(EncodedRow(np.asarray(ids, np.int64), np.asarray(positions, np.int64)))
        return encoded


def _plain(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False).input_ids)


def _rendered(tokenizer: PreTrainedTokenizerBase, turns: list[dict[str, str]]) -> str:
    if not getattr(tokenizer, "chat_template", None):
        raise InputError("tokenizer: this form needs a chat template, found none")
    return str(tokenizer.apply_chat_template(turns, tokenize=False))


def _at_tags(encode: Callable[[list[str]], list[list[int]]], text: Callable[[str, Sequence[str]], str],
             rows: Sequence[Texts], tag: str, tag_id: int) -> list[EncodedRow]:
    """Rows of `text(prompt, steps)`, read at each `tag`; one that texts hold themselves is broken up by a space."""
    found = []
    for (prompt, steps), plain in zip(rows, encode([text(*row) for row in rows]), strict=True):
        ids = np.asarray(plain, np.int64)
        written = int(np.count_nonzero(ids == tag_id)) - len(steps)
        if written > 0:
            broken = f"{tag[0]} {tag[1:]}"
            [spelled] = encode([text(prompt.replace(tag, broken), [step.replace(tag, broken) for step in steps])])
            ids = np.asarray(spelled, np.int64)
        positions = np.flatnonzero(ids == tag_id)
        if len(positions) != len(steps):
            raise InputError(f"row: expected one tag {tag!r} per step ({len(steps)}), found {len(positions)}; a merge "
                             "swallowed or made one")
        found.append(EncodedRow(ids[: positions[-1] + 1], positions.astype(np.int64, copy=False), max(written, 0)))
    return found
