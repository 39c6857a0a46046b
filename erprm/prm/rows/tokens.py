"""Rows as token ids: the one function that training, scoring and the doctor all build ids with.

    tokens = StepTokens.from_tokenizer(tokenizer, StepTags())
    row = encode_row(tokenizer, tokens, "2+3*4?", ["3*4=12", "2+12=14"])
    row.ids[row.tag_positions]                        # the tag's id, twice

A row reads: beginning-of-sequence token where the tokenizer adds one (once, though a prompt that a chat template wrote
begins with it too), prompt, `prompt_end`, first step, tag, `step_end`, second step, tag, ... and ends with the tag of
its last step (nothing after it can change a score under causal attention). The text between two tags is tokenised on
its own and the tag is set by id, so that no merge crosses a tag. A text that holds the tag itself (a policy may write
anything) keeps its characters there, but in other tokens, and is counted: no step is ended by what the policy writes.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from erprm.errors import InputError
from erprm.steps import AUTO, AUTO_TAGS, StepTags

_CONTEXTS = ("x", "1", ")")  # what a step may end with; a tag must be the same single token after each
_LABEL_CONTEXTS = ("x", "1")  # labels stand in no row: their tokens only name two rows of the output head
_TAGS, _LABELS = (" ки", "ки"), ((" +", " -"), ("+", "-"))  # what "auto" tries first, in this order
_SPARE = re.compile(r"reserved|unused|extra|place.?holder|dummy", re.IGNORECASE)  # tokens that are there to be used


@dataclass(frozen=True, slots=True)
class StepTokens:
    """`StepTags` under one tokenizer.

    Attributes:
        tags: the texts, none of them "auto".
        tag_id, plus_id, minus_id: the single token of each.
        bos_id: the token that the tokenizer puts before a text; None where it puts none.
        anchor: ids of a word and the tag, behind which the text after a tag is tokenised; this keeps SentencePiece
            tokenizers from adding their word-start sign there. Empty where the tokenizer would merge tag and text.
        spelling: ids that stand for the tag where a text holds it: its characters one by one.
    """

    tags: StepTags
    tag_id: int
    plus_id: int
    minus_id: int
    bos_id: int | None
    anchor: tuple[int, ...]
    spelling: tuple[int, ...]

    @classmethod
    def from_tokenizer(cls, tokenizer: PreTrainedTokenizerBase, tags: StepTags | None = None) -> StepTokens:
        """Look the three tokens up.

        Args:
            tags: `AUTO` for a text stands for the first that is one token behind a step: as the tag " ки", "ки", then
                a special token that neither the tokenizer nor its chat template uses; as labels " +" and " -", then
                "+" and "-". All three are chosen so when None.

        Raises:
            InputError: when the tag or a label isn't exactly one token after a step, naming the tokens that it becomes,
                or when two of the three are the same token.
        """
        tags = _resolved(tokenizer, tags or AUTO_TAGS)
        ids = {"tag": _single_token(tokenizer, "tag", tags.tag)}
        ids |= {name: _single_token(tokenizer, name, text, _LABEL_CONTEXTS)
                for name, text in (("plus", tags.plus), ("minus", tags.minus))}
        if len(set(ids.values())) < 3:
            raise InputError(f"tag, plus, minus: expected three different tokens, found ids {list(ids.values())}")
        opening = tokenizer("x").input_ids
        bos = tokenizer.bos_token_id
        alone, followed = _encode(tokenizer, [_CONTEXTS[0] + tags.tag, _CONTEXTS[0] + tags.tag + tags.step_end + "x"])
        anchored = bool(tags.step_end) and followed[: len(alone)] == alone
        return cls(tags, ids["tag"], ids["plus"], ids["minus"],
                   bos_id=bos if bos is not None and opening[0] == bos else None,
                   anchor=tuple(alone) if anchored else (), spelling=_spelling(tokenizer, tags.tag, ids["tag"]))

    def check(self, vocabulary: int) -> None:
        """Raise InputError for a token that the model has no row for."""
        for name in ("tag", "plus", "minus"):
            index = getattr(self, f"{name}_id")
            if index >= vocabulary:
                raise InputError(f"{name}: its id {index} lies outside the model's vocabulary of {vocabulary}; resize "
                                 "the model's embeddings, or choose another token")

    def __str__(self) -> str:
        tags = self.tags
        return (f"tokens: tag {tags.tag!r} = {self.tag_id}, {tags.plus!r} = {self.plus_id}, {tags.minus!r} = "
                f"{self.minus_id}, beginning of sequence = {self.bos_id}")


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """A row's ids, [T] int64, and the positions of its L tags in them, [L] int64, ascending; the last one is T - 1.

    `written` tags stood in its own texts and are spelled in other tokens.
    """

    ids: npt.NDArray[np.int64]
    tag_positions: npt.NDArray[np.int64]
    written: int = 0


def encode_row(tokenizer: PreTrainedTokenizerBase, tokens: StepTokens, prompt: str, steps: Sequence[str]) -> EncodedRow:
    """Ids and tag positions of one row. Raises InputError as `encode_rows`."""
    return encode_rows(tokenizer, tokens, [(prompt, steps)])[0]


def encode_rows(tokenizer: PreTrainedTokenizerBase, tokens: StepTokens, rows: Iterable[tuple[str, Sequence[str]]],
                ) -> list[EncodedRow]:
    """`encode_row` for many rows at once: each distinct text is tokenised once, in the tokenizer's own batch.

    Raises:
        InputError: for a row without steps, or with a step that merges with the tag before it.
    """
    tags = tokens.tags
    anchor = _CONTEXTS[0] + tags.tag if tokens.anchor else ""
    index: dict[str, int] = {}
    chunks_of_row: list[list[int]] = []
    for prompt, steps in rows:
        if not steps:
            raise InputError(f"steps: expected at least one step, found none for prompt {prompt[:40]!r}")
        texts = [prompt + tags.prompt_end + steps[0]] + [anchor + tags.step_end + step for step in steps[1:]]
        chunks_of_row.append([index.setdefault(text, len(index)) for text in texts])
    encoded = [np.asarray(ids, dtype=np.int64) for ids in _encode(tokenizer, list(index))]
    return [_assemble(tokens, [encoded[chunk] for chunk in chunks]) for chunks in chunks_of_row]


def written_note(rows: int) -> str:
    """What is said, once, of rows whose own texts hold the tag."""
    return f"{rows:,} rows hold the step tag in their own text, where it is spelled in other tokens"


def _assemble(tokens: StepTokens, chunks: list[npt.NDArray[np.int64]]) -> EncodedRow:
    tag = np.array([tokens.tag_id], dtype=np.int64)
    begun = tokens.bos_id is None or (len(chunks[0]) > 0 and chunks[0][0] == tokens.bos_id)
    parts = [] if begun else [np.array([tokens.bos_id], dtype=np.int64)]
    written = 0
    for number, chunk in enumerate(chunks):
        if number and tokens.anchor:
            head = len(tokens.anchor)
            if tuple(chunk[:head]) != tokens.anchor:
                raise InputError(f"step {number + 1}: its text merges with the tag {tokens.tags.tag!r} before it")
            chunk = chunk[head:]
        held = np.flatnonzero(chunk == tokens.tag_id)
        written += len(held)
        parts += [_spelled(chunk, held, tokens.spelling) if len(held) else chunk, tag]
    ids = np.concatenate(parts)
    return EncodedRow(ids, np.flatnonzero(ids == tokens.tag_id).astype(np.int64, copy=False), written)


def _spelled(chunk: npt.NDArray[np.int64], held: npt.NDArray[np.int64], spelling: Sequence[int],
             ) -> npt.NDArray[np.int64]:
    """`chunk` with `spelling` in the places `held`."""
    first, *others = np.split(chunk, held)
    return np.concatenate([first, *(np.concatenate([np.asarray(spelling, np.int64), part[1:]]) for part in others)])


def _spelling(tokenizer: PreTrainedTokenizerBase, tag: str, tag_id: int) -> tuple[int, ...]:
    """Ids of the tag's characters, or of another one where the tag is a single one: none of them the tag's own."""
    before = _encode(tokenizer, [_CONTEXTS[0]])[0]
    ids: tuple[int, ...] = ()
    for text in (tag, " " if tag.isspace() else "?", "#"):
        behind = _encode(tokenizer, [_CONTEXTS[0] + character for character in text])
        ids = tuple(itertools.chain.from_iterable(found[len(before):] for found in behind))
        if tag_id not in ids:
            break
    return ids


def _encode(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    if not texts:
        return []
    ids: list[list[int]] = tokenizer(texts, add_special_tokens=False, return_attention_mask=False,
                                     return_token_type_ids=False, verbose=False).input_ids
    return ids


def _resolved(tokenizer: PreTrainedTokenizerBase, tags: StepTags) -> StepTags:
    """`tags` with every "auto" replaced."""
    if AUTO in (tags.plus, tags.minus):
        plus, minus = next(label_candidates(tokenizer), _LABELS[0])
        tags = replace(tags, plus=plus if tags.plus == AUTO else tags.plus,
                       minus=minus if tags.minus == AUTO else tags.minus)
    if tags.tag != AUTO:
        return tags
    for text in tag_candidates(tokenizer):
        if text not in (tags.plus, tags.minus):
            return replace(tags, tag=text)
    raise InputError(f"tag: found none; neither {' nor '.join(map(repr, _TAGS))} is one token in this tokenizer, and "
                     "it has no unused special token; name one with tag=..., or --tag")


def tag_candidates(tokenizer: PreTrainedTokenizerBase) -> Iterator[str]:
    """Texts that can be the tag, in the order in which "auto" tries them."""
    return (text for text in (*_TAGS, *_spare_tokens(tokenizer)) if _is_single(tokenizer, text))


def label_candidates(tokenizer: PreTrainedTokenizerBase) -> Iterator[tuple[str, str]]:
    """Pairs of texts that can be the labels, plus first, in the order in which "auto" tries them."""
    return (pair for pair in _LABELS if all(_is_single(tokenizer, text, _LABEL_CONTEXTS) for text in pair))


def _spare_tokens(tokenizer: PreTrainedTokenizerBase) -> Iterator[str]:
    """Added tokens that nothing uses: those that are named so first, then other special ones; each in order of ids."""
    named = {token for token in tokenizer.special_tokens_map.values() if isinstance(token, str)}
    used = str(tokenizer.chat_template or "")
    added = [token for _, token in sorted(tokenizer.added_tokens_decoder.items())
             if token.content.strip() and token.content not in named and token.content not in used]
    yield from (token.content for token in added if _SPARE.search(token.content))
    yield from (token.content for token in added if token.special and not _SPARE.search(token.content))


def _is_single(tokenizer: PreTrainedTokenizerBase, text: str, contexts: Sequence[str] = _CONTEXTS) -> bool:
    """Whether `text` is one and the same token behind each of `contexts`."""
    try:
        _single_token(tokenizer, "text", text, contexts)
    except InputError:
        return False
    return True


def _single_token(tokenizer: PreTrainedTokenizerBase, name: str, text: str, contexts: Sequence[str] = _CONTEXTS) -> int:
    """The id of `text` as it stands behind each of `contexts`."""
    plain = _encode(tokenizer, list(contexts))
    behind = _encode(tokenizer, [context + text for context in contexts])
    found = set()
    for context, before, after in zip(contexts, plain, behind, strict=True):
        if after[:-1] != before or len(after) != len(before) + 1:
            pieces = tokenizer.convert_ids_to_tokens(after)
            raise InputError(f"{name} {text!r}: expected exactly one token behind a step, found {context + text!r} "
                             f"tokenised as {pieces}")
        found.add(after[-1])
    if len(found) > 1:
        raise InputError(f"{name} {text!r}: expected one token in every context, found {sorted(found)}")
    return int(found.pop())
