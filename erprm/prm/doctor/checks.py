"""Would this file train this model as intended? Checks of tokens, tags, targets and rows, before any GPU is used.

    diagnosis = diagnose("meta-llama/Llama-3.2-1B", "train.parquet", "heldout.parquet", max_length=512)
    print(diagnosis)
    diagnosis.healthy                                 # False when something would corrupt training

An *error* corrupts training or its evaluation: a tag of two tokens, weights that aren't numbers, equal rows with unlike
targets, problems that are both trained on and held out. A *warning* costs rows or steps: cut rows, missing targets,
repeated rows. A *note* costs nothing. Ids are built by the function that training and scoring use, and of a model in a
folder all weights are read, one at a time.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from transformers import AutoConfig, PreTrainedTokenizerBase

from erprm.errors import InputError
from erprm.prm.checkpoints.folders import check_folder
from erprm.prm.checkpoints.weights import WeightFiles
from erprm.prm.doctor.findings import Diagnosis, Finding
from erprm.prm.model import check_supported
from erprm.prm.rows.tokens import (
    EncodedRow,
    StepTokens,
    encode_row,
    encode_rows,
    label_candidates,
    tag_candidates,
)
from erprm.prm.spec import tags_for
from erprm.prm.training.inputs import rows_of
from erprm.prm.training.options import TargetOptions
from erprm.rows import StepRow
from erprm.steps import AUTO_TAGS, StepTags
from erprm.tokenizers import check_padding, load_tokenizer
from erprm.values.spec import TargetSpec

_READ_AHEAD = 1024
_RESIZE = "resize the model's embeddings to the tokenizer's size, or use the model's own tokenizer"
_SHOWN = 8  # characters that are named where a tokenizer loses some
_PROPOSED = 4  # tags that are named where the given one can't be used


def diagnose(model: str | Path, rows: str | Path, heldout: str | Path | None = None, *, tags: StepTags | None = None,
             max_length: int = 512, target: TargetSpec | None = None, samples: int = 2) -> Diagnosis:
    """Look at everything.

    Args:
        model: a model or tokenizer, folder or hub name.
        rows, heldout: training and evaluation rows, .jsonl or .parquet.
        max_length: most tokens of a row in training.
        target: what will be trained on; None stands for "er" where rows have counts, else "labels".
        samples: rows to show.

    Raises:
        InputError: for a model or file that isn't there. Faults of the data are findings.
    """
    tokenizer = load_tokenizer(model)
    diagnosis = Diagnosis()
    diagnosis.tokens = _check_tokens(diagnosis, tokenizer, tags_for(model, tags or AUTO_TAGS))
    vocabulary = _check_model(diagnosis, tokenizer, model, max_length)
    for path in (rows, heldout):
        if path is not None and not Path(path).is_file():
            raise InputError(f"{path}: no such file")
    readable = (row for row in _until_error(rows_of(rows)) if isinstance(row, StepRow))
    target = (target or TargetOptions().target_spec(has_counts(rows))).fitted_to_rows(readable)
    target = replace(target, eta=target.etas[0])  # faults of rows are the same for every eta
    seen = _Rows(diagnosis, tokenizer, vocabulary, max_length, target, samples)
    try:
        seen.read(rows_of(rows))
    except InputError as error:
        diagnosis.findings.append(Finding("error", f"unreadable row: {error}",
                                          "correct or remove it; what follows it was not looked at"))
    seen.finish()
    if heldout is not None:
        _check_leaks(diagnosis, seen, heldout)
    return diagnosis


class _Rows:
    """Goes through the training rows once; keeps digests of each and of its prefixes, not the row."""

    def __init__(self, diagnosis: Diagnosis, tokenizer: PreTrainedTokenizerBase, vocabulary: int | None,
                 max_length: int, target: TargetSpec, samples: int) -> None:
        self.diagnosis, self.tokenizer, self.max_length = diagnosis, tokenizer, max_length
        self.vocabulary, self.target, self.samples = vocabulary, target, samples
        self.problems: set[bytes] = set()
        # digest of prompt and steps, and whether the solution ended there -> digest of the targets
        self.solutions: dict[tuple[bytes, bool], bytes] = {}
        self.prefixes: dict[bytes, float] = {}  # digest of prompt and first steps -> the target first seen there
        self.values: Counter[float] = Counter()
        self.kept: set[str] = set()  # characters that come back out of the tokens
        self.lost: dict[str, None] = {}
        self.found = {
            "merged": Finding("error", "rows whose text merges with the tag before it", "choose another --tag"),
            "tag": Finding("warning", "rows whose own text holds the tag, which is spelled in other tokens there",
                           "nothing where the policy writes it; if steps were cut in the wrong places, cut them anew"),
            "outside": Finding("error", f"rows with a token outside the model's vocabulary of {vocabulary}",
                               _RESIZE),
            "contradictory": Finding("error", "rows equal to an earlier one but with other targets",
                                     "keep one of them, or pool their counts"),
            "disagreeing": Finding("warning", "rows with a target other than an earlier row's for the same first steps",
                                   "label them together (erprm label counts a prefix once), or accept the noise"),
            "repeated": Finding("warning", "rows equal to an earlier one, targets included",
                                "remove them, or accept that they weigh more"),
            "dropped": Finding("error", f"rows of which not even the first step fits into {max_length} tokens",
                               "raise --max-length or remove them"),
            "cut": Finding("warning", f"rows longer than {max_length} tokens, which lose their last steps",
                           "raise --max-length to keep them whole"),
            "bare": Finding("warning", "rows without any target of this kind, which will be dropped",
                            "label them, or choose another --target"),
            "blank": Finding("warning", "rows without any text in their steps, which will be dropped",
                             "nothing where the policy wrote nothing; else look at how they were split"),
            "empty": Finding("warning", "rows with an empty step", "remove empty steps, with their targets"),
            "lost": Finding("warning", "rows with text that the tokenizer loses",
                            "use a tokenizer with byte fallback, or clean the text"),
        }

    def read(self, rows: Iterable[StepRow]) -> None:
        """Look at every row."""
        stream = iter(rows)
        while batch := list(_until_error(itertools.islice(stream, _READ_AHEAD))):
            failed = batch.pop() if isinstance(batch[-1], InputError) else None
            good = [row for row in batch if isinstance(row, StepRow)]
            for row, encoded in zip(good, self._encode(good), strict=True):
                self.diagnosis.rows += 1
                self._look(self.diagnosis.rows, row, encoded)
            if isinstance(failed, InputError):
                raise failed

    def finish(self) -> None:
        """Findings about the file as a whole."""
        if self.lost:
            shown = [f"{char!r} (U+{ord(char):04X})" for char in itertools.islice(self.lost, _SHOWN)]
            more = f" and {len(self.lost) - _SHOWN} more" if len(self.lost) > _SHOWN else ""
            self.found["lost"].what += f", whichever way it is read: {', '.join(shown)}{more}"
        self.diagnosis.findings += [finding for finding in self.found.values() if finding.count]
        if self.diagnosis.rows == 0:
            self.diagnosis.findings.append(Finding("error", "no row was read", "check the file"))
        elif not self.values:
            self.diagnosis.findings.append(Finding("error", "no step has a target", "label the rows (erprm label), or "
                                                   "choose another --target"))
        elif len(self.values) == 1:
            self.diagnosis.findings.append(Finding("warning", f"every target is {next(iter(self.values))}: there is "
                                                   "nothing to learn", "sample more problems, or harder ones"))

    def _encode(self, rows: list[StepRow]) -> list[EncodedRow | None]:
        tokens = self.diagnosis.tokens
        if tokens is None:
            return [None] * len(rows)
        try:
            return list(encode_rows(self.tokenizer, tokens, [(row.prompt, row.steps) for row in rows]))
        except InputError:
            return [_encode_one(self.tokenizer, tokens, row) for row in rows]

    def _look(self, number: int, row: StepRow, encoded: EncodedRow | None) -> None:
        targets = self._targets(row)
        known = ~np.isnan(targets)
        self.diagnosis.labelled += int(known.sum())
        self.values.update(np.unique(targets[known]).tolist() if len(self.values) < 2 else ())
        if not known.any():
            self.found["bare"].add(number)
        if not all(step.strip() for step in row.steps):
            self.found["empty" if any(step.strip() for step in row.steps) else "blank"].add(number)
        self.problems.add(problem_digest(row))
        prefixes = _prefix_digests(row)
        # A counted solution that ended has its own outcome at its end; one that goes on from there, a mean over many.
        ended = row.finished and row.outcome is not None and row.has_completions
        key, value = (prefixes[-1], ended), _digest(targets.tobytes().hex())
        if ended:
            prefixes.pop()
        if key in self.solutions:
            self.found["repeated" if self.solutions[key] == value else "contradictory"].add(number)
        elif self.target.kind != "outcome" and self._disagrees(prefixes, targets):
            self.found["disagreeing"].add(number)  # outcomes differ by design: right and wrong solutions begin alike
        self.solutions.setdefault(key, value)
        if encoded is None:
            if self.diagnosis.tokens is not None:
                self.found["merged"].add(number)
            return
        if encoded.written:
            self.found["tag"].add(number)
        if self.vocabulary is not None and encoded.ids.max() >= self.vocabulary:
            self.found["outside"].add(number)
        self.diagnosis.tags += len(encoded.tag_positions)
        self.diagnosis.length = max(self.diagnosis.length, len(encoded.ids))
        if encoded.tag_positions[0] >= self.max_length:
            self.found["dropped"].add(number)
        elif len(encoded.ids) > self.max_length:
            self.found["cut"].add(number)
        if self._loses(row, encoded):
            self.found["lost"].add(number)
        if len(self.diagnosis.samples) < self.samples:
            self.diagnosis.samples.append((number, _sample(self.tokenizer, encoded, targets, self.max_length)))

    def _loses(self, row: StepRow, encoded: EncodedRow) -> bool:
        """Whether the row has a character that does not come back out of its tokens; keeps which these are."""
        characters = set(row.prompt).union(*row.steps)
        begin = 0 if self.diagnosis.tokens is None or self.diagnosis.tokens.bos_id is None else 1
        if new := characters - self.kept - self.lost.keys():
            decoded = str(self.tokenizer.decode(encoded.ids[begin:].tolist(), clean_up_tokenization_spaces=False))
            decoded = decoded.replace(str(self.tokenizer.unk_token), "")
            self.lost.update(dict.fromkeys(char for char in sorted(new) if char not in decoded))
            self.kept.update(new - self.lost.keys())
        unknown = self.tokenizer.unk_token_id
        return not self.lost.keys().isdisjoint(characters) or (
            unknown is not None and bool((encoded.ids[begin:] == unknown).any()))

    def _disagrees(self, prefixes: list[bytes], targets: npt.NDArray[np.float64]) -> bool:
        """Whether an earlier row has another target at one of these prefixes; keeps those that are new."""
        differ = [abs(self.prefixes.setdefault(prefix, target) - target) > 1e-9
                  for prefix, target in zip(prefixes, targets.tolist(), strict=False) if not np.isnan(target)]
        return any(differ)

    def _targets(self, row: StepRow) -> npt.NDArray[np.float64]:
        try:
            return self.target.of_row(row)
        except InputError:
            return np.full(len(row.steps), np.nan)


def has_counts(rows: str | Path) -> bool:
    """Whether the first row of the file has counts or rewards."""
    first = next(_until_error(rows_of(rows)), None)
    return isinstance(first, StepRow) and first.has_completions


def problem_digest(row: StepRow) -> bytes:
    """Equal for prompts that differ only in case and white space."""
    return _digest(" ".join(row.prompt.lower().split()))


def _check_tokens(diagnosis: Diagnosis, tokenizer: PreTrainedTokenizerBase, tags: StepTags) -> StepTokens | None:
    try:
        return StepTokens.from_tokenizer(tokenizer, tags)
    except InputError as error:
        proposed = [f"--tag {text!r}" for text in itertools.islice(tag_candidates(tokenizer), _PROPOSED)]
        proposed += [f"--plus {plus!r} --minus {minus!r}" for plus, minus in label_candidates(tokenizer)]
        diagnosis.findings.append(Finding("error", str(error), "choose texts of one token each; in this tokenizer: "
                                          + (", ".join(proposed) or "none is known")))
        return None


def _check_model(diagnosis: Diagnosis, tokenizer: PreTrainedTokenizerBase, model: str | Path, max_length: int,
                 ) -> int | None:
    """Look at configuration and weights; returns the size of the vocabulary, None where it isn't known."""
    try:
        if (Path(model) / "config.json").is_file():
            check_folder(model)
            WeightFiles(model).check_finite()
        config = AutoConfig.from_pretrained(str(model), trust_remote_code=False)
    except InputError as error:
        diagnosis.findings.append(Finding("error", str(error), "copy or download the model again"))
        return None
    except (OSError, ValueError):
        diagnosis.findings.append(Finding("warning", "no model configuration beside the tokenizer, so the model's "
                                          "vocabulary and positions weren't checked", "name the model itself"))
        return None
    with _found(diagnosis, "train a model of another family: see docs/families.md"):
        diagnosis.saved_as = check_supported(config)
    text = config.get_text_config()
    size, positions = getattr(text, "vocab_size", None), getattr(text, "max_position_embeddings", None)
    if size is not None:
        with _found(diagnosis, _RESIZE):
            if note := check_padding(tokenizer, size):
                diagnosis.findings.append(Finding("note", note, "nothing to do"))
        with _found(diagnosis, _RESIZE):
            if diagnosis.tokens is not None:
                diagnosis.tokens.check(size)
    if positions is not None and max_length > positions:
        diagnosis.findings.append(Finding("error", f"max_length {max_length} exceeds the model's {positions} positions",
                                          f"set --max-length to {positions} or less"))
    return size


@contextlib.contextmanager
def _found(diagnosis: Diagnosis, advice: str) -> Iterator[None]:
    """An InputError inside becomes a finding."""
    try:
        yield
    except InputError as error:
        diagnosis.findings.append(Finding("error", str(error), advice))


def _check_leaks(diagnosis: Diagnosis, train: _Rows, heldout: str | Path) -> None:
    problems = Finding("error", f"rows of {heldout} whose problem is also trained on",
                       "split by problem, not by row: otherwise held-out scores mean nothing")
    solutions = Finding("error", f"rows of {heldout} that are training rows", "remove them from either file")
    try:
        for number, row in enumerate(rows_of(heldout), start=1):
            if any((_digest(row.prompt, *row.steps), ended) in train.solutions for ended in (False, True)):
                solutions.add(number)
            elif problem_digest(row) in train.problems:
                problems.add(number)
    except InputError as error:
        diagnosis.findings.append(Finding("error", f"unreadable row: {error}", "correct or remove it"))
    diagnosis.findings += [finding for finding in (solutions, problems) if finding.count]


def _encode_one(tokenizer: PreTrainedTokenizerBase, tokens: StepTokens, row: StepRow) -> EncodedRow | None:
    try:
        return encode_row(tokenizer, tokens, row.prompt, row.steps)
    except InputError:
        return None


def _until_error(rows: Iterator[StepRow]) -> Iterator[StepRow | InputError]:
    """Rows, then the error that ended them, so that what was read before it is looked at."""
    try:
        yield from rows
    except InputError as error:
        yield error


def _digest(*texts: str) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.digest()


def _prefix_digests(row: StepRow) -> list[bytes]:
    """`_digest` of the prompt with the first step, with the first two, ..., with all."""
    digest = hashlib.blake2b(digest_size=16)
    digests = []
    for text in (row.prompt, *row.steps):
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
        digests.append(digest.digest())
    return digests[1:]


def _sample(tokenizer: PreTrainedTokenizerBase, row: EncodedRow, targets: npt.NDArray[np.float64],
            max_length: int) -> list[tuple[str, float | None]]:
    """Tokens of a row up to the last tag that fits, and the target at each tag (NaN: none)."""
    kept = row.tag_positions[row.tag_positions < max_length]
    at = dict(zip(row.tag_positions.tolist(), targets.tolist(), strict=True))
    ids = row.ids[: kept[-1] + 1] if len(kept) else row.ids[:max_length]
    return [(tokenizer.decode([token]), at.get(place)) for place, token in enumerate(ids.tolist())]
