"""Where a completion ends: stop strings found in the decoded text, looked for only after tokens that can end one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Detokenizer:
    """Completion text from token ids.

    Tokenizers of the sentencepiece kind drop the space of a text's first token; decoding behind an anchor token keeps
    it, so that prefix + text is what the policy wrote.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._anchor: list[int] = tokenizer("a", add_special_tokens=False)["input_ids"][-1:]
        self._skip = len(self._decode(self._anchor))

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def text(self, ids: Sequence[int]) -> str:
        """The text of generated token ids; special tokens are left out."""
        return self._decode([*self._anchor, *ids])[self._skip :]


class StopStrings:
    """Finds the first of several stop strings in growing completions."""

    def __init__(self, stop: Sequence[str], detokenizer: Detokenizer, vocabulary: int, device: torch.device) -> None:
        self._stop = tuple(text for text in stop if text)
        self._detokenizer = detokenizer
        # A stop string is complete only after a token that holds its last character, or the last byte of it (which
        # alone decodes to the replacement character). Every other token is passed over without decoding.
        last = {text[-1] for text in self._stop} | {"\ufffd"}
        ends = [bool(self._stop) and not last.isdisjoint(detokenizer.text([token])) for token in range(vocabulary)]
        self.may_end = torch.tensor(ends, dtype=torch.bool, device=device)  # [V]

    def __bool__(self) -> bool:
        return bool(self._stop)

    def ends(self, ids: Sequence[int]) -> bool:
        """Whether the completion `ids` holds a stop string."""
        text = self._detokenizer.text(ids)
        return any(stop in text for stop in self._stop)

    def cut(self, text: str) -> str:
        """`text` up to the first stop string in it; whole when there is none."""
        found = [place for stop in self._stop if (place := text.find(stop)) >= 0]
        return text[: min(found)] if found else text
