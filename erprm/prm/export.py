"""A trained PRM in the forms that others load, with proof that the scores are the same.

    report = export("runs/prm", "runs/prm-causal-lm", to="causal-lm")
    print(report)                                     # largest difference over the probe rows

- causal-lm: a stock causal language model. Rows " +" and " -" of its output head are the trained ones, all others are
  zero, so that the softmax over the two logits at a tag is the score. Math-Shepherd's and the paper's code read it, and
  vLLM serves it, by `serve.sh` in the folder. A tied head is untied: the input embedding stays as it was.
- classification: a stock token classification model with two labels; TRL and vLLM read it.

Both carry erprm.json and the tokenizer, and are read back by the stock class before they get their final name.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForTokenClassification, PreTrainedConfig

from erprm.errors import InputError
from erprm.files.writing import written_folder
from erprm.prm.checkpoints.forms import Checkpoint, find_folder, label_bias, label_rows
from erprm.prm.checkpoints.known import FORMS
from erprm.prm.checkpoints.weights import BIAS, ROWS, WeightFiles
from erprm.prm.logits import make_linear, uncapped
from erprm.prm.model import has_class
from erprm.prm.rows.conventions import Texts
from erprm.prm.rows.tokens import StepTokens, written_note
from erprm.prm.scoring.scorer import PRMScorer, Scores
from erprm.prm.scoring.vllm import serve_script
from erprm.prm.spec import FILE_NAME, PRMSpec

TARGETS = tuple(name for name, form in FORMS.items() if form.exported)
SERVE_NAME = "serve.sh"
TOLERANCE = 1e-5  # between scores in float32
PROBE: tuple[Texts, ...] = (
    ("2+3*4?", ("3*4=12", "2+12=14")),
    ("What is 7 times 8?", ("7 times 8 is 56.", "The answer is 56.")),
    ("A train goes 60 km in 40 minutes. How fast is it?", ("40 minutes are 2/3 of an hour.", "60 / (2/3) = 80.",
                                                            "Wait, 60 * 3 / 2 = 90 km/h.")),
)


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was written where, the largest difference between scores before and after, and how many of the rows hold the
    step tag in their own text."""

    folder: Path
    form: str
    rows: int
    steps: int
    difference: float
    written: int = 0

    def __str__(self) -> str:
        return (f"{self.form} form; read back by its stock class, {self.steps} steps of {self.rows} rows score the "
                f"same (largest difference {self.difference:.1e})"
                + (f"; {written_note(self.written)}" if self.written else ""))


def export(path: str | Path, out: str | Path, to: str, rows: Sequence[Texts] = PROBE, *, eta: float | None = None,
           ) -> ExportReport:
    """Write the PRM at `path` to the new folder `out`.

    Both forms have two rows: of several etas one is written, and a learnt concentration stays behind.

    Args:
        path: a checkpoint of either own form.
        to: "causal-lm" or "classification".
        rows: (prompt, steps) whose scores are compared, in float32.
        eta: which one, of a model that learnt several.

    Raises:
        InputError: for another form, an existing `out`, a head that the form can't hold, or scores that differ.
    """
    if to not in TARGETS:
        raise InputError(f"to: expected one of {', '.join(TARGETS)}, found {to!r}")
    out = Path(out)
    if to == "classification" and not has_class(AutoConfig.from_pretrained(str(find_folder(path)))):
        raise InputError(f"to: expected causal-lm, found classification: the family of {path} has no stock token "
                         "classification class")
    if out.exists():
        raise InputError(f"{out}: expected a new folder, found that it exists")
    scorer = PRMScorer(path, dtype="float32", device="cpu", eta=eta)
    source = scorer.checkpoint
    if source.tokens is None:
        raise InputError(f"{path}: expected a checkpoint trained with erprm, found the form {source.form}")
    before = scorer.score(rows)
    with written_folder(out, last=FILE_NAME) as beside:
        _write(source, source.tokens, beside, to, eta)
        after = stock_scores(beside, to, source, rows)
        difference = max(float(np.abs(a - b).max()) for a, b in zip(before, after, strict=True))
        if not difference <= TOLERANCE:
            raise InputError(f"{out}: not written: scores differ by {difference:.2e} after export, expected at most "
                             f"{TOLERANCE:.0e}")
    return ExportReport(out, to, len(rows), sum(map(len, before)), difference, scorer.report.written)


@torch.inference_mode()
def stock_scores(folder: str | Path, form: str, source: Checkpoint, rows: Sequence[Texts]) -> list[Scores]:
    """Scores by the stock class of `form`, one row at a time, in float32: what others will see.

    Args:
        source: gives the ids of the rows and of the labels.
    """
    assert source.tokens is not None
    auto = AutoModelForCausalLM if form == "causal-lm" else AutoModelForTokenClassification
    pair = [source.tokens.plus_id, source.tokens.minus_id] if form == "causal-lm" else [1, 0]
    model = auto.from_pretrained(str(folder), dtype=torch.float32).eval()
    scores = []
    for row in source.convention.encode(rows):
        logits = model(input_ids=torch.from_numpy(row.ids)[None]).logits[0, torch.from_numpy(row.tag_positions)]
        scores.append(logits[:, pair].softmax(-1)[:, 0].numpy())
    return scores


def _write(source: Checkpoint, tokens: StepTokens, folder: Path, to: str, eta: float | None) -> None:
    spec = _spec_of(source.folder, tokens)
    weights = _TwoRows(source.folder, 1 if eta is None else 1 + spec.etas.index(eta))
    if eta is not None:
        spec = replace(spec, targets={**spec.targets, "eta": eta})
    if spec.learns_concentration:
        spec = replace(spec, concentration=PRMSpec().concentration)
    config = copy.deepcopy(AutoConfig.from_pretrained(str(source.folder)))
    state = {name: weights[name] for name in weights if not name.startswith(("score.", "lm_head."))}
    if to == "causal-lm":
        state["lm_head.weight"] = _label_matrix(source, weights, tokens)
        if (bias := _label_bias(source, weights, tokens)) is not None:
            state["lm_head.bias"] = bias
        config, spec = _causal_config(config, source), replace(spec, loss="vocab")
    else:
        state |= _class_rows(source, weights, tokens)
        config, spec = _class_config(config, BIAS in state), replace(
            spec, loss="pair" if spec.objective.vocabulary else spec.loss)
    auto = AutoModelForCausalLM if to == "causal-lm" else AutoModelForTokenClassification
    with torch.device("meta"):
        shell = auto.from_config(config, dtype=state["model.embed_tokens.weight"].dtype)
    shell.save_pretrained(str(folder), state_dict=state)
    source.tokenizer.save_pretrained(str(folder))
    spec.save(folder)
    if to == "causal-lm":
        plus, minus = source.tokenizer.convert_ids_to_tokens([tokens.plus_id, tokens.minus_id])
        (folder / SERVE_NAME).write_text(serve_script(folder, tokens.tag_id, (plus, minus)), encoding="utf-8")


class _TwoRows(WeightFiles):
    """Weights whose own head is cut to the rows of "-" and of the chosen "+"."""

    def __init__(self, folder: Path, plus: int) -> None:
        super().__init__(folder)
        self._plus = plus

    def __getitem__(self, name: str) -> Tensor:
        whole = super().__getitem__(name)
        return whole[[0, self._plus]] if name in (ROWS, BIAS) else whole


def _spec_of(folder: Path, tokens: StepTokens) -> PRMSpec:
    return PRMSpec.load(folder) if (folder / FILE_NAME).is_file() else PRMSpec(loss="vocab", tags=tokens.tags)


def _label_matrix(source: Checkpoint, weights: WeightFiles, tokens: StepTokens) -> Tensor:
    """An output head [V, D] that is zero but for the two label rows."""
    if FORMS[source.form].two_rows:
        minus, plus = weights[ROWS]
    else:
        plus, minus = label_rows(weights, tokens.plus_id, tokens.minus_id)
    matrix = torch.zeros_like(weights["model.embed_tokens.weight"])
    matrix[tokens.plus_id], matrix[tokens.minus_id] = plus.to(matrix), minus.to(matrix)
    return matrix


def _label_bias(source: Checkpoint, weights: WeightFiles, tokens: StepTokens) -> Tensor | None:
    """The bias [V] of that head, where the family's output head has one. Raises InputError where it would be lost."""
    if FORMS[source.form].two_rows:
        pair = weights[BIAS].flip(0) if BIAS in weights else torch.zeros(2)
    else:
        pair = label_bias(weights, tokens.plus_id, tokens.minus_id)
    with torch.device("meta"):
        causal = AutoModelForCausalLM.from_config(source.config)
    if causal.get_output_embeddings().bias is None:
        if bool(pair.diff().abs() > 0):
            raise InputError(f"{source.folder}: a head with a bias (loss 'head') has no causal-lm form in this family, "
                             "whose output head has none; export it to classification")
        return None
    bias = torch.zeros(weights["model.embed_tokens.weight"].shape[0], dtype=pair.dtype)
    bias[[tokens.plus_id, tokens.minus_id]] = pair
    return bias


def _class_rows(source: Checkpoint, weights: WeightFiles, tokens: StepTokens) -> dict[str, Tensor]:
    """The head of the classification form: row 0 is "-", row 1 is "+"."""
    if FORMS[source.form].two_rows:
        return {name: weights[name] for name in (ROWS, BIAS) if name in weights}
    rule = uncapped(source.config, "the classification form")
    plus, minus = label_rows(weights, tokens.plus_id, tokens.minus_id)
    state = {ROWS: torch.stack([minus, plus]) * rule.scale}
    if "lm_head.bias" in weights:
        state[BIAS] = (label_bias(weights, tokens.plus_id, tokens.minus_id).flip(0) * rule.scale).to(plus)
    return state


def _causal_config(config: PreTrainedConfig, source: Checkpoint) -> PreTrainedConfig:
    config.tie_word_embeddings = False
    if FORMS[source.form].two_rows:
        make_linear(config)  # the two rows give the logits as they are
    for name in ("token_classification_bias", "classifier_dropout"):
        if hasattr(config, name):
            delattr(config, name)
    config.num_labels = 2
    config.id2label, config.label2id = {0: "LABEL_0", 1: "LABEL_1"}, {"LABEL_0": 0, "LABEL_1": 1}
    return config


def _class_config(config: PreTrainedConfig, bias: bool) -> PreTrainedConfig:
    config.num_labels = 2
    config.id2label = PRMSpec().labels
    config.label2id = {label: index for index, label in config.id2label.items()}
    config.token_classification_bias, config.classifier_dropout = bias, 0.0
    return config
