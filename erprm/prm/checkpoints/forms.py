"""Published PRMs of every form as one thing: a transformer, a head on its hidden states, and a convention for rows.

    checkpoint = open_checkpoint("runs/prm")                          # own form, told by erprm.json
    checkpoint = open_checkpoint("Qwen/Qwen2.5-Math-PRM-7B")          # told by its architecture
    checkpoint = open_checkpoint("path/to/math-shepherd", form="math-shepherd")
    checkpoint = open_checkpoint("runs/prm", eta=2.0)                 # of one that learnt several
    base = load_base(checkpoint, dtype="bfloat16")

The forms are those of `erprm.prm.checkpoints.known.FORMS`.
No vocabulary logits: of an output head only the two label rows are read from disk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoModel,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from erprm.errors import InputError
from erprm.loading import REFUSALS, refusal
from erprm.prm.checkpoints.folders import check_folder, read_settings
from erprm.prm.checkpoints.known import FORMS
from erprm.prm.checkpoints.weights import ROWS, WeightFiles, head_rows
from erprm.prm.logits import LogitRule, logit_rule
from erprm.prm.losses import concentration_of
from erprm.prm.rows.conventions import ChatTurns, Convention, LineSteps, QwenMath, SeparatedSteps, Shepherd, TaggedSteps
from erprm.prm.rows.tokens import StepTokens
from erprm.prm.spec import FILE_NAME, PRMSpec
from erprm.tokenizers import load_tokenizer
from erprm.values.spec import check_etas, eta_name

DTYPES = {"auto": "auto", "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class LinearHead(nn.Module):
    """z = h direction + offset; the difference of two rows of an output head, or a head with one row."""

    columns = 1  # numbers for each step
    direction: Tensor

    def __init__(self, direction: Tensor, offset: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("direction", direction.float())
        self.offset = offset

    def forward(self, hidden: Tensor) -> Tensor:
        """Scores [M] float32 in [0, 1] of hidden states [M, D] of any dtype."""
        result: Tensor = torch.sigmoid(hidden.float() @ self.direction + self.offset)
        return result


class RowsHead(nn.Module):
    """z_h = h (w_h - w_0) + b_h - b_0 of the rows of an own head: a score for each eta, or score and concentration."""

    directions: Tensor
    offsets: Tensor

    def __init__(self, rows: Tensor, bias: Tensor | None, concentration: bool) -> None:
        """rows [1 + H, D], "-" first; bias [1 + H] or None; concentration: the second column is one."""
        super().__init__()
        bias = torch.zeros(len(rows)) if bias is None else bias.float()
        self.register_buffer("directions", rows[1:].float() - rows[0].float())
        self.register_buffer("offsets", bias[1:] - bias[0])
        self.columns, self.concentration = len(rows) - 1, concentration

    def forward(self, hidden: Tensor) -> Tensor:
        """Scores [M, H] float32 of hidden states [M, D] of any dtype; with a concentration [M, 2]."""
        z = hidden.float() @ self.directions.T + self.offsets
        return torch.stack([z[:, 0].sigmoid(), concentration_of(z[:, 1])], dim=1) if self.concentration else z.sigmoid()


class CappedHead(nn.Module):
    """Two rows of an output head whose logits are capped: the softmax of the stock model's own logits."""

    columns = 1
    rows: Tensor
    bias: Tensor

    def __init__(self, rows: Tensor, bias: Tensor, rule: LogitRule) -> None:
        """rows [2, D], "+" first; bias [2]."""
        super().__init__()
        self.register_buffer("rows", rows.float())
        self.register_buffer("bias", bias.float())
        self.rule = rule

    def forward(self, hidden: Tensor) -> Tensor:
        """Scores [M] float32 in [0, 1] of hidden states [M, D] of any dtype."""
        logits = self.rule.apply(hidden.float() @ self.rows.T + self.bias)
        return torch.sigmoid(logits[:, 0] - logits[:, 1])


class HiddenLayerHead(nn.Module):
    """Qwen2.5-Math-PRM's head: Linear [D, D], ReLU, Linear [2, D]; softmax, class 1."""

    columns = 1
    first_weight: Tensor
    first_bias: Tensor
    second_weight: Tensor
    second_bias: Tensor

    def __init__(self, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> None:
        super().__init__()
        for name, (weight, bias) in (("first", first), ("second", second)):
            self.register_buffer(f"{name}_weight", weight.float())
            self.register_buffer(f"{name}_bias", bias.float())

    def forward(self, hidden: Tensor) -> Tensor:
        """Scores [M] float32 in [0, 1] of hidden states [M, D] of any dtype."""
        inner = torch.relu(nn.functional.linear(hidden.float(), self.first_weight, self.first_bias))
        return nn.functional.linear(inner, self.second_weight, self.second_bias).softmax(-1)[:, 1]


Head = LinearHead | RowsHead | CappedHead | HiddenLayerHead
SCORES, LOW, HIGH = "scores", "score_low", "score_high"


@dataclass(frozen=True)
class Checkpoint:
    """A PRM but for its transformer, which `load_base` reads.

    Attributes:
        folder: where it lies on disk.
        form: one of `FORMS`.
        config: of the transformer.
        head: hidden states [M, D] to scores [M], or to several numbers for each step [M, C].
        convention: rows to ids.
        tokens: tag and label ids of an own form; None for the others.
        causal_ids: ids of tag, " +" and " -" where the folder is a causal language model that is read at a tag.
        columns: the names of what is said of a step: "scores"; one for each of several etas; or the score with the
            ends of its interval, where the head gives score and concentration.
    """

    folder: Path
    form: str
    config: PreTrainedConfig
    head: Head
    convention: Convention
    tokenizer: PreTrainedTokenizerBase
    tokens: StepTokens | None = None
    causal_ids: tuple[int, int, int] | None = None
    columns: tuple[str, ...] = (SCORES,)


def open_checkpoint(path: str | Path, form: str = "auto", *, separator: str = "\n", spec: PRMSpec | None = None,
                    eta: float | Sequence[float] | None = None, every: bool = False) -> Checkpoint:
    """Read what there is besides the transformer, of a PRM of any form.

    Args:
        path: a folder, or a name on the hub.
        form: one of `FORMS`; "auto" tells it from the files, and is an error where they don't say.
        separator: what the "trl" form was trained with between steps.
        spec: tags of a causal language model without erprm.json; `AUTO_TAGS` when None.
        eta: which of the etas that the model was trained for; needed where there are several, but for `every`.
        every: all that the model says of a step: the scores of each eta (of those named), or the score's interval where
            its concentration was learnt.

    Raises:
        InputError: for a missing folder, an unknown or undecidable form, tokens that aren't single, missing weights, an
            eta that the model lacks.
    """
    folder = find_folder(path)
    config = check_folder(folder)
    settings = read_settings(folder)
    if form == "auto":
        form = detect_form(folder, settings, str(path))
    elif form not in FORMS:
        raise InputError(f"form: expected auto or one of {', '.join(FORMS)}, found {form!r}")
    found = _Found(folder, form, config, load_tokenizer(folder), WeightFiles(folder), spec, separator, eta, every)
    if eta is not None and not found.known_etas:
        raise InputError(f"eta: expected none, since {folder} doesn't say which it was trained for, found {eta}")
    return _READERS[form](found)


def load_base(checkpoint: Checkpoint, dtype: str = "auto", **options: Any) -> PreTrainedModel:
    """The transformer without an output head, in evaluation mode.

    Args:
        dtype: "auto" (as on disk), "float32", "bfloat16" or "float16".
        options: for `from_pretrained`.

    Raises:
        InputError: for another dtype, or when the files lack a weight.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype: expected one of {', '.join(DTYPES)}, found {dtype!r}")
    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # the keys of the head are unexpected by design
    logging.disable_progress_bar()
    try:
        base, info = AutoModel.from_pretrained(str(checkpoint.folder), config=checkpoint.config, dtype=DTYPES[dtype],
                                               output_loading_info=True, trust_remote_code=False, **options)
    except REFUSALS as error:
        raise refusal(checkpoint.folder, error) from error
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()
    missing = sorted(info["missing_keys"])
    if missing:
        raise InputError(f"{checkpoint.folder}: {len(missing)} weights of {type(base).__name__} are missing, "
                         f"first {missing[0]}")
    model: PreTrainedModel = base.eval().requires_grad_(False)
    return model


def find_folder(path: str | Path) -> Path:
    """`path` itself if it is a folder, else the snapshot of the hub model with that name. Raises InputError."""
    folder = Path(path)
    if folder.is_dir():
        return folder
    if str(path).count("/") != 1 or folder.is_absolute() or str(path).startswith("."):
        raise InputError(f"{path}: no such folder, and not a model name of the form owner/name")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(path)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise InputError(f"{path}: no such folder, and not found on the hub: {str(error).splitlines()[0]}") from error


def detect_form(folder: Path, settings: dict[str, Any], name: str = "") -> str:
    """Which of `FORMS` the folder holds, from erprm.json, the architecture and the published names.

    Raises:
        InputError: where nothing says which convention a causal language model was trained with.
    """
    architecture = str(settings["architectures"][0])
    if architecture == "Qwen2ForProcessRewardModel":
        return "qwen2.5-math-prm"
    if "v_head.summary.weight" in WeightFiles(folder):
        return "skywork-o1"
    own = (folder / FILE_NAME).is_file()
    if architecture.endswith("ForTokenClassification"):
        return "classification" if own else "trl"
    if architecture.endswith("ForCausalLM"):
        if own:
            return "causal-rows" if ROWS in WeightFiles(folder) else "causal-lm"
        known = f"{name} {settings.get('_name_or_path', '')}".lower()
        if "math-shepherd" in known:
            return "math-shepherd"
        if "rlhflow" in known or "-prm-deepseek-data" in known or "-prm-mistral-data" in known:
            return "rlhflow"
        raise InputError(f"{folder}: a causal language model without {FILE_NAME} doesn't say how its rows are written; "
                         "expected form causal-lm, math-shepherd or rlhflow")
    raise InputError(f"{folder}: expected a causal language model, a token classification model, Qwen2.5-Math-PRM or "
                     f"Skywork-o1, found {architecture}")


def label_rows(weights: WeightFiles, plus: int, minus: int) -> tuple[Tensor, Tensor]:
    """Rows " +" and " -" of the output head, [D] each: `lm_head`, or the input embedding where that is tied.

    Only these rows are read. Raises InputError for an id outside the vocabulary.
    """
    name = "lm_head.weight" if "lm_head.weight" in weights else "model.embed_tokens.weight"
    rows = weights.rows(name, [plus, minus])
    return rows[0], rows[1]


@dataclass(frozen=True)
class _Found:
    """What a reader of a form is given."""

    folder: Path
    form: str
    config: PreTrainedConfig
    tokenizer: PreTrainedTokenizerBase
    weights: WeightFiles
    spec: PRMSpec | None
    separator: str
    eta: float | Sequence[float] | None
    every: bool

    @property
    def own(self) -> PRMSpec | None:
        """What the checkpoint says of itself."""
        return PRMSpec.load(self.folder) if (self.folder / FILE_NAME).is_file() else None

    @property
    def known_etas(self) -> tuple[float, ...]:
        """The etas that it was trained for."""
        return () if self.own is None else self.own.etas

    def chosen(self) -> tuple[float, ...]:
        """The etas whose scores are read. Raises InputError."""
        known = self.known_etas
        names = ", ".join(map(eta_name, known))
        if self.eta is None:
            if len(known) > 1 and not self.every:
                raise InputError(f"eta: expected one of {names}, which {self.folder} was trained for, found none; name "
                                 "it, or write a model of one with: erprm export --eta")
            return known
        chosen = check_etas(self.eta)
        if lacking := [eta for eta in chosen if eta not in known]:
            raise InputError(f"eta: expected of {names}, which {self.folder} was trained for, found "
                             f"{eta_name(lacking[0])}")
        return chosen

    def checkpoint(self, head: Head, convention: Convention, tokens: StepTokens | None = None,
                   causal_ids: tuple[int, int, int] | None = None, columns: tuple[str, ...] = (SCORES,)) -> Checkpoint:
        return Checkpoint(self.folder, self.form, self.config, head, convention, self.tokenizer, tokens, causal_ids,
                          columns)


def _own(found: _Found) -> Checkpoint:
    """The own forms: rows with a tag behind each step."""
    tokens = StepTokens.from_tokenizer(found.tokenizer, (found.own or found.spec or PRMSpec()).tags)
    convention = TaggedSteps(found.tokenizer, tokens)
    etas = found.chosen()
    if FORMS[found.form].two_rows:
        head, columns = _own_rows(found, etas)
        return found.checkpoint(head, convention, tokens, columns=columns)
    return found.checkpoint(_label_head(found.config, found.weights, tokens.plus_id, tokens.minus_id), convention,
                            tokens, (tokens.tag_id, tokens.plus_id, tokens.minus_id))


def _math_shepherd(found: _Found) -> Checkpoint:
    shepherd = Shepherd(found.tokenizer)
    return found.checkpoint(_label_head(found.config, found.weights, *shepherd.label_ids), shepherd,
                            causal_ids=(shepherd.tag_id, *shepherd.label_ids))


def _rlhflow(found: _Found) -> Checkpoint:
    turns = ChatTurns(found.tokenizer)
    return found.checkpoint(_label_head(found.config, found.weights, *turns.label_ids), turns)


def _trl(found: _Found) -> Checkpoint:
    separated = SeparatedSteps(found.tokenizer, found.separator)
    return found.checkpoint(_two_rows(found.config, found.weights), separated)


def _qwen(found: _Found) -> Checkpoint:
    first, second = ((found.weights[f"score.{layer}.weight"], found.weights[f"score.{layer}.bias"]) for layer in (0, 2))
    return found.checkpoint(HiddenLayerHead(first, second), QwenMath(found.tokenizer))


def _skywork(found: _Found) -> Checkpoint:
    value = LinearHead(found.weights["v_head.summary.weight"][0], float(found.weights["v_head.summary.bias"][0]))
    return found.checkpoint(value, LineSteps(found.tokenizer))


# Apart from `FORMS`, which the command line reads without torch.
_READERS: dict[str, Callable[[_Found], Checkpoint]] = {
    "classification": _own, "causal-rows": _own, "causal-lm": _own, "math-shepherd": _math_shepherd,
    "rlhflow": _rlhflow, "trl": _trl, "qwen2.5-math-prm": _qwen, "skywork-o1": _skywork}


def label_bias(weights: WeightFiles, plus: int, minus: int) -> Tensor:
    """What the output head adds to the logits of " +" and " -", [2] float32; zeros where it adds nothing."""
    return weights["lm_head.bias"][[plus, minus]].float() if "lm_head.bias" in weights else torch.zeros(2)


def _label_head(config: PreTrainedConfig, weights: WeightFiles, plus: int, minus: int) -> LinearHead | CappedHead:
    rows, bias = torch.stack(label_rows(weights, plus, minus)).float(), label_bias(weights, plus, minus)
    rule = logit_rule(config)
    if rule.cap is not None:
        return CappedHead(rows, bias, rule)
    return LinearHead((rows[0] - rows[1]) * rule.scale, float(bias[0] - bias[1]) * rule.scale)


def _two_rows(config: PreTrainedConfig, weights: WeightFiles) -> LinearHead:
    """The head of a token classification model, class 1 against class 0."""
    return _pair(*head_rows(weights, config.get_text_config().hidden_size))


def _pair(rows: Tensor, bias: Tensor | None) -> LinearHead:
    offset = 0.0 if bias is None else float(bias[1].float() - bias[0].float())
    return LinearHead(rows[1].float() - rows[0].float(), offset)


def _own_rows(found: _Found, etas: tuple[float, ...]) -> tuple[Head, tuple[str, ...]]:
    """The rows of the chosen etas, or with a learnt concentration the third one too, and the columns that they give."""
    spec = found.own or PRMSpec()
    rows, bias = head_rows(found.weights, found.config.get_text_config().hidden_size, len(spec.labels))
    if spec.learns_concentration and found.every:
        return RowsHead(rows, bias, concentration=True), (SCORES, LOW, HIGH)
    kept = [0, *(1 + spec.etas.index(eta) for eta in etas)] if len(spec.etas) > 1 else [0, 1]
    rows, bias = rows[kept], None if bias is None else bias[kept]
    if len(kept) == 2:
        return _pair(rows, bias), (SCORES,)
    return RowsHead(rows, bias, concentration=False), tuple(f"{SCORES}_eta_{eta_name(eta)}" for eta in etas)
