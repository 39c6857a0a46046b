"""The tokenizer of a model folder or hub name, read such that no text is lost.

    tokenizer = load_tokenizer("deepseek-ai/DeepSeek-V3")

transformers chooses a tokenizer's class by its name in the configuration, and some classes put their own rules before
those of tokenizer.json: DeepSeek-V3 read as a Llama tokenizer loses every space and every letter outside of ASCII. A
tokenizer that loses text is read again by the rules of its own file.
"""

from __future__ import annotations

import contextlib
import gc
import json
import string
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from erprm.errors import InputError

# Besides these the tokenizers package raises Exception itself, for a file that it can't read.
_REFUSALS = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, IndexError, StrictDataclassError,
             ZeroDivisionError)
_LARGEST_VOCABULARY = 1 << 24
_PROBE = "A 1 + 2\nи x"
_KNOWN = " ".join(string.ascii_letters + string.digits + string.punctuation)  # some of these, to any policy


def load_tokenizer(model: str | Path, **options: Any) -> PreTrainedTokenizerBase:
    """`AutoTokenizer.from_pretrained`, or the plain reading of tokenizer.json where that one alone keeps the text.

    Args:
        options: for `from_pretrained` (revision, padding_side, ...).

    Raises:
        InputError: when there is no tokenizer, none that transformers reads, or one to which all texts are alike.
    """
    with _without_collection():
        tokenizer = _load(model, options)
    ids = set(tokenizer(_KNOWN, add_special_tokens=False).input_ids)
    if len(ids) < 2:
        found = f"reads each as {tokenizer.convert_ids_to_tokens(ids.pop())!r}" if ids else "reads nothing of them"
        raise InputError(f"model: {model}: expected a tokenizer that knows letters, digits or signs, found one that "
                         f"{found}")
    return tokenizer


def _load(model: str | Path, options: Mapping[str, Any]) -> PreTrainedTokenizerBase:
    _check_files(Path(model))
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(model), **options)
        if keeps_text(tokenizer) or not tokenizer.is_fast:
            return tokenizer
        plain: PreTrainedTokenizerBase = PreTrainedTokenizerFast.from_pretrained(str(model), **options)
    except Exception as error:  # tokenizers raises bare ones for files that it can't read; others go on
        if not isinstance(error, _REFUSALS) and type(error) is not Exception:
            raise
        raise InputError(f"model: {model}: expected a folder or hub name with a tokenizer; "
                         f"{(str(error).splitlines() or [type(error).__name__])[0]}") from error
    if not keeps_text(plain):
        return tokenizer
    print(f"tokenizer: read by the rules of its tokenizer.json: {type(tokenizer).__name__}, which transformers chooses "
          f"for {model}, loses text", file=sys.stderr)
    return plain


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """No garbage is collected meanwhile: a vocabulary is a million objects at once, none of them garbage, and each
    collection would walk through all of them and all of torch."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _check_files(folder: Path) -> None:
    """Raise InputError for a file of the tokenizer that is there but holds no JSON; tokenizers says so with a panic."""
    for path in (folder / "tokenizer.json", folder / "tokenizer_config.json"):
        if path.is_file():
            try:
                found = json.loads(path.read_text(encoding="utf-8"))
            except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
                raise InputError(f"{path}: expected JSON, found {str(error).splitlines()[0]}") from error
            if not isinstance(found, dict):
                raise InputError(f"{path}: expected an object, found {type(found).__name__}")
            _check_ids(path, found)


def _check_ids(path: Path, tokenizer: dict[str, Any]) -> None:
    """Raise InputError for the id of a token that no vocabulary has: tables as long as it would be made."""
    model, added = tokenizer.get("model"), tokenizer.get("added_tokens")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    ids = [*vocabulary.items()] if isinstance(vocabulary, dict) else []
    ids += [(item.get("content"), item.get("id")) for item in added if isinstance(item, dict)] if isinstance(
        added, list) else []
    for token, index in ids:
        if not isinstance(index, int) or not 0 <= index < _LARGEST_VOCABULARY:
            raise InputError(f"{path}: token {token!r:.40}: expected an id below {_LARGEST_VOCABULARY:,}, found "
                             f"{index!r:.40}")


def keeps_text(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a text with spaces, a line break and a Cyrillic letter comes back out of its tokens."""
    ids = tokenizer(_PROBE, add_special_tokens=False).input_ids
    return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False)).strip() == _PROBE


def check_padding(tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> str | None:
    """What there is to say of the padding token: one line where it also ends a text, else None.

    Raises:
        InputError: when it lies outside the model's vocabulary.
    """
    pad = tokenizer.pad_token_id
    if pad is not None and pad >= vocabulary:
        raise InputError(f"pad token {tokenizer.pad_token!r}: its id {pad} lies outside the model's vocabulary of "
                         f"{vocabulary}; resize the model's embeddings, or pad with a token that they have")
    if pad is not None and pad == tokenizer.eos_token_id:
        return (f"padding: {tokenizer.pad_token!r}, which also ends a text; padding is told apart by its place, so no "
                "end is lost")
    return None
