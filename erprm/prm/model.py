"""`PRM`: a stock transformer with a step head of a few rows instead of its vocabulary head.

    model = PRM.from_base("meta-llama/Llama-3.2-1B", tokenizer, PRMSpec(loss="pair"))
    output = model(input_ids=ids, tag_positions=positions, labels=targets)     # output.loss, output.scores
    model.save_pretrained(folder)                                              # a stock checkpoint plus erprm.json
    model = PRM.load(folder)

The parameters are named as in the stock `...ForTokenClassification` class (`model.*`, `score.weight`: row 0 is class
"-", row 1 class "+"), so that the weights on disk are a stock checkpoint. With several etas row h is the "+" of eta_h,
and a learnt concentration has row 2; `PRMSpec.labels` names the rows. With the "vocab" loss the parameters are those of
the causal language model. A family that has no token classification class (Gemma-3, OLMo-2, Granite, ...) is saved as
its causal language model's transformer with the rows beside it (`score.weight`), which `load` and the scorer read.

Glossary: B batch rows, T tokens of a batch row, N = B T, M labelled steps, U tags, H etas, D hidden, V vocabulary.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForTokenClassification,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.integrations import deepspeed
from transformers.models.auto.modeling_auto import MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING
from transformers.utils import ModelOutput

from erprm.errors import InputError
from erprm.loading import REFUSALS, load_causal
from erprm.prm.attention import spans, tags_only
from erprm.prm.checkpoints.folders import check_folder
from erprm.prm.checkpoints.weights import WeightFiles, head_rows
from erprm.prm.logits import logit_rule, uncapped
from erprm.prm.losses import Learnt, concentration_of, counts_loss, margins, pair_loss, vocabulary_loss
from erprm.prm.rows.tokens import StepTokens
from erprm.prm.spec import FILE_NAME, PRMSpec

START = 8.0  # where a learnt concentration begins, in completions


@dataclass
class StepOutput(ModelOutput):  # type: ignore[misc]
    """What the model says at each labelled tag.

    `loss`: scalar float32, None where nothing is learnt. `scores`: P(+), float32 [M], with several etas [M, H].
    `concentration`: [M] float32 in completions, where the head predicts it.
    """

    loss: Tensor | None = None
    scores: Tensor | None = None
    concentration: Tensor | None = None


class StepHead(nn.Module):
    """The rows of the output head, `weight` [1 + H, D] (row 0 "-", row h "+"), with a `bias` [1 + H] or none.

    Its forward takes hidden states and tag positions, so that it shards under FSDP and wraps under PEFT as any module.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = None if bias is None else nn.Parameter(bias)

    def forward(self, hidden: Tensor, positions: Tensor, spec: PRMSpec, learnt: Learnt | None = None,
                ) -> tuple[Tensor | None, Tensor, Tensor | None]:
        """Loss (None where nothing is learnt), scores [M, H] and predicted concentrations [M] or None.

        Args:
            hidden: [N, D].
            positions: [M] int64 into `hidden`.
            spec: says the loss: the Beta-binomial likelihood of the counts, or the soft cross-entropy.
        """
        if learnt is None:
            z = margins(hidden, self.weight, self.bias, positions)
            if spec.learns_concentration:
                return None, torch.sigmoid(z[:, :1]), concentration_of(z[:, 1])
            return None, torch.sigmoid(z), None
        if not spec.objective.counts:
            return *pair_loss(hidden, self.weight, self.bias, positions, learnt, spec.etas), None
        fixed = None if spec.learns_concentration else float(spec.concentration)
        loss, (scores, found) = counts_loss(hidden, self.weight, self.bias, positions, learnt, fixed)
        return loss, scores.unsqueeze(1), found if spec.learns_concentration else None


class PRM(PreTrainedModel):  # type: ignore[misc]
    """See the module. Built by `from_base`, `from_stock` or `load`, not by its constructor."""

    base_model_prefix = "model"
    accepts_loss_kwargs = True
    supports_gradient_checkpointing = True
    _supports_flash_attn = _supports_sdpa = _supports_flex_attn = _supports_attention_backend = True

    def __init__(self, config: PreTrainedConfig, base: PreTrainedModel, head: StepHead | nn.Linear, spec: PRMSpec,
                 tokens: StepTokens | None) -> None:
        super().__init__(config)
        self.model = base
        self.logit_scale = 1.0
        if spec.objective.vocabulary:
            if head.bias is not None:
                raise InputError("loss: vocab has no place for the model's lm_head.bias; expected pair, head or "
                                 "beta_binomial")
            self.logit_scale = uncapped(config, "the vocab loss").scale
            self.lm_head = head
            if config.tie_word_embeddings:
                self._tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}
        else:
            self.score = head
        self.spec, self.tokens = spec, tokens
        self.at_tags = tags_only.install(base)
        self.post_init()

    def init_weights(self) -> None:
        """The weights are given: nothing is drawn here."""

    @classmethod
    def _can_set_experts_implementation(cls) -> bool:
        """Mixtures of experts are asked this; the transformer inside answers for itself."""
        return True

    # ---- making ----

    @classmethod
    def from_base(cls, source: str | Path | PreTrainedModel, tokenizer: PreTrainedTokenizerBase,
                  spec: PRMSpec | None = None, *, seed: int = 0, **options: Any) -> PRM:
        """A PRM to train, from a causal language model (or its path).

        Args:
            tokenizer: names the rows of " +" and " -" that a "pair" or "beta_binomial" head starts from.
            seed: draws the fresh head of the "head" loss.
            options: for `AutoModelForCausalLM.from_pretrained` (dtype, attn_implementation, ...).

        Raises:
            InputError: when tag or labels aren't one token each, or the model's form isn't supported.
        """
        spec = spec or PRMSpec()
        tokens = StepTokens.from_tokenizer(tokenizer, spec.tags)
        spec = replace(spec, tags=tokens.tags)
        causal = source if isinstance(source, PreTrainedModel) else _causal(source, options)
        return cls.from_rows(causal, spec, tokens, seed=seed)

    @classmethod
    def for_training(cls, source: str | Path | PreTrainedModel, tokenizer: PreTrainedTokenizerBase, spec: PRMSpec, *,
                     seed: int = 0, **options: Any) -> PRM:
        """`source` itself where it is a PRM or the folder of one, else `from_base`; with `spec` and its tokens.

        Tags that are "auto" are those that a PRM was trained with.

        Raises:
            InputError: as `from_base`, or for a PRM whose head is of another kind than the loss and etas of `spec`.
        """
        if isinstance(source, PRM):
            known = source.spec
        elif not isinstance(source, PreTrainedModel) and (Path(source) / FILE_NAME).is_file():
            known = PRMSpec.load(source)
        else:
            return cls.from_base(source, tokenizer, spec, seed=seed, **options)
        if known.objective.vocabulary != spec.objective.vocabulary:
            raise InputError(f"loss: expected {known.loss!r}, as the model was trained, found {spec.loss!r}")
        if known.labels != spec.labels:
            raise InputError(f"eta, concentration: expected the head that the model was trained with "
                             f"({', '.join(known.labels.values())}), found {', '.join(spec.labels.values())}")
        tokens = StepTokens.from_tokenizer(tokenizer, spec.tags.filled(known.tags))
        prm = source if isinstance(source, PRM) else cls.load(source, tokenizer, **options)
        tokens.check(prm.vocabulary)
        prm.spec, prm.tokens = replace(spec, tags=tokens.tags), tokens
        return prm

    @classmethod
    def from_rows(cls, causal: PreTrainedModel, spec: PRMSpec, tokens: StepTokens, *, seed: int = 0) -> PRM:
        """`from_base` with the token ids known: the head's rows are taken from the model's output head."""
        output = causal.get_output_embeddings()
        check_form(causal, output)
        tokens.check(output.weight.shape[0])
        if spec.objective.vocabulary:
            return cls(causal.config, causal.model, output, spec, tokens)
        config = copy.deepcopy(causal.config)
        weight, bias = _initial_rows(output, tokens, spec, seed, logit_rule(config).scale)
        return cls(_classification_config(config, spec, bias is not None), causal.model, StepHead(weight, bias), spec,
                   tokens)

    @classmethod
    def from_stock(cls, stock: PreTrainedModel, spec: PRMSpec, tokens: StepTokens | None = None) -> PRM:
        """A PRM over a stock `...ForTokenClassification` or, for the "vocab" loss, `...ForCausalLM`.

        Raises:
            InputError: for a head whose rows aren't the labels of `spec`.
        """
        if spec.objective.vocabulary:
            return cls(stock.config, stock.model, stock.lm_head, spec, tokens)
        score = stock.score
        if score.weight.shape[0] != len(spec.labels):
            raise InputError(f"score: expected a head of {len(spec.labels)} rows, found {score.weight.shape[0]}")
        # Asked of the config: older stock classes add a bias of zeros to a head that was saved without one.
        bias = score.bias.data if getattr(stock.config, "token_classification_bias", True) else None
        return cls(_classification_config(stock.config, spec, bias is not None), stock.model,
                   StepHead(score.weight.data, bias), spec, tokens)

    @classmethod
    def load(cls, folder: str | Path, tokenizer: PreTrainedTokenizerBase | None = None, **options: Any) -> PRM:
        """Read what `save_pretrained` wrote.

        Args:
            tokenizer: needed to go on with the "vocab" loss, which looks the label ids up.
            options: for `from_pretrained` (dtype, attn_implementation, ...).
        """
        spec = PRMSpec.load(folder)
        tokens = StepTokens.from_tokenizer(tokenizer, spec.tags) if tokenizer else None
        config = check_folder(folder)
        if not spec.objective.vocabulary:
            weight, bias = head_rows(WeightFiles(folder), config.get_text_config().hidden_size, len(spec.labels))
            if not has_class(config):
                base = AutoModel.from_pretrained(str(folder), **options)
                head = StepHead(weight.to(base.dtype), None if bias is None else bias.to(base.dtype))
                return cls(_classification_config(config, spec, bias is not None), base, head, spec, tokens)
        auto = AutoModelForCausalLM if spec.objective.vocabulary else AutoModelForTokenClassification
        return cls.from_stock(auto.from_pretrained(str(folder), **options), spec, tokens)

    # ---- use ----

    def forward(self, input_ids: Tensor, tag_positions: Tensor, labels: Tensor | None = None,
                position_ids: Tensor | None = None, ends: Tensor | None = None, cu_seqlens: Tensor | None = None,
                max_length: int | None = None, mask_blocks: Tensor | None = None, tag_of_step: Tensor | None = None,
                num_items_in_batch: Tensor | float | None = None, **learnt: Tensor) -> StepOutput:
        """Loss and scores at the tags.

        Of labels, successes with trials, and rewards with offsets, one is given, as the collator found it; without any
        there are only scores.

        Args:
            input_ids: [B, T] int64; every row packed or padded on the right.
            tag_positions: [U] int64, ascending distinct positions in the flattened [B T].
            labels: [U] float32 targets in [0, 1] (with several etas [U, H]), or one for each of M steps.
            position_ids: [B, T] int64; None counts from 0 in every row.
            ends: [B, T] int, or cu_seqlens: [S + 1] int32 and max_length: how rows are packed (see
                `erprm.prm.attention.spans`); none of them for one row per batch row.
            mask_blocks: the table of `erprm.prm.attention.blocks`, beside `ends` on a GPU.
            tag_of_step: [M] int64 into `tag_positions`, where several steps share a tag (shared prefixes); the scores
                are then those of the steps. None when step m stands at tag m.
            num_items_in_batch: labelled steps of the whole optimiser step; None for those of this batch.
            learnt: `successes` and `trials`, `rewards` and `offsets`, and `weights` (steps at a tag), as in `Learnt`.
        """
        if position_ids is None:
            position_ids = torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)
        extra = spans.arguments(self.model.config, self.dtype, ends, position_ids, cu_seqlens, max_length,
                                mask_blocks)
        if self.at_tags:
            extra["tag_positions"] = tag_positions
        hidden = self.model(input_ids=input_ids, position_ids=position_ids, use_cache=False, **extra).last_hidden_state
        hidden = hidden.view(-1, hidden.shape[-1])
        if self.at_tags:
            positions = torch.arange(tag_positions.shape[0], device=hidden.device)
        else:
            positions = tag_positions
        known = Learnt(labels, normalizer=num_items_in_batch, **learnt) if labels is not None or learnt else None
        if tag_of_step is not None and known is not None and known.places == tag_of_step.shape[0]:
            hidden = hidden[positions[tag_of_step]]  # unlike index_select, its backward pass adds up in a fixed order
            positions, tag_of_step = torch.arange(tag_of_step.shape[0], device=hidden.device), None
        loss, scores, concentration = self._head(hidden, positions, known)
        if scores.shape[1] == 1:
            scores = scores[:, 0]
        if tag_of_step is not None:
            scores = scores[tag_of_step]
            concentration = None if concentration is None else concentration[tag_of_step]
        return StepOutput(loss=loss, scores=scores, concentration=concentration)

    def _head(self, hidden: Tensor, positions: Tensor, learnt: Learnt | None,
              ) -> tuple[Tensor | None, Tensor, Tensor | None]:
        if not self.spec.objective.vocabulary:
            return cast(tuple[Tensor | None, Tensor, Tensor | None], self.score(hidden, positions, self.spec, learnt))
        if self.tokens is None:
            raise InputError("tokenizer: the vocab loss needs the label ids; load the model with its tokenizer")
        ids = (self.tokens.plus_id, self.tokens.minus_id)
        if self.logit_scale != 1.0:
            hidden = hidden * self.logit_scale
        if learnt is None:
            return None, torch.sigmoid(margins(hidden, self.lm_head.weight[[ids[1], ids[0]]], None, positions)), None
        loss, scores = vocabulary_loss(hidden, self.lm_head.weight, ids, positions, learnt)
        return loss, scores.unsqueeze(1), None

    def get_input_embeddings(self) -> nn.Module:
        """The base model's token embedding."""
        return cast(nn.Module, self.model.get_input_embeddings())

    @property
    def vocabulary(self) -> int:
        """Rows of the token embedding: the ids that there may be are below it."""
        return self.get_input_embeddings().get_parameter("weight").shape[0]

    # ---- saving ----

    def save_pretrained(self, save_directory: str | Path, state_dict: dict[str, Tensor] | None = None,
                        is_main_process: bool = True, **options: Any) -> None:
        """Write a stock checkpoint (token classification; causal LM for the "vocab" loss) and `erprm.json`.

        Args:
            state_dict: the full weights where this process holds only a shard of them.
        """
        if not is_main_process:
            return
        causal = self.spec.objective.vocabulary or not has_class(self.config)
        auto = AutoModelForCausalLM if causal else AutoModelForTokenClassification
        with torch.device("meta"), _unsharded():
            shell = auto.from_config(self.config, dtype=self.dtype)
        shell.save_pretrained(str(save_directory), state_dict=self.state_dict() if state_dict is None else state_dict,
                              **options)
        self.spec.save(save_directory)


@contextlib.contextmanager
def _unsharded() -> Iterator[None]:
    """No sharding of models that are made inside: under DeepSpeed ZeRO-3 transformers shards every one."""
    reference = deepspeed._hf_deepspeed_config_weak_ref
    deepspeed.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        deepspeed._hf_deepspeed_config_weak_ref = reference


def _causal(source: str | Path, options: dict[str, Any]) -> PreTrainedModel:
    """The causal language model of a folder or hub name, which is looked at before it is loaded."""
    if Path(source).is_dir():
        check_supported(check_folder(source))
    return load_causal(source, **options)


def has_class(config: PreTrainedConfig) -> bool:
    """Whether the family has a stock token classification class, in whose form a PRM is saved."""
    return type(config) in MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING


def check_form(causal: PreTrainedModel, output: nn.Module | None) -> None:
    """Raise InputError for a model that isn't a transformer `model` whose last hidden state goes to `lm_head`."""
    name = type(causal).__name__
    if causal.base_model_prefix != "model" or not isinstance(output, nn.Linear) or causal.lm_head is not output:
        raise InputError(f"model: expected a causal language model of the form model + lm_head, found {name}")
    if not isinstance(causal.model, PreTrainedModel) or causal.model.get_input_embeddings() is not getattr(
            causal.model, "embed_tokens", None):
        raise InputError(f"model: expected the token embedding at model.embed_tokens, found another place in {name}")
    if output.weight.shape[1] != causal.config.get_text_config().hidden_size:
        raise InputError(f"model: expected an output head on {causal.config.hidden_size} hidden numbers, found "
                         f"{output.weight.shape[1]} in {name}")


def check_supported(config: PreTrainedConfig) -> str:
    """What a PRM over this model is saved as, told from the configuration alone, without weights.

    Raises:
        InputError: with the reason why PRMs don't train over it.
    """
    with torch.device("meta"), _unsharded():
        try:
            causal = AutoModelForCausalLM.from_config(config)
        except REFUSALS as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"model: expected the configuration of a causal language model, found one that "
                             f"transformers refuses: {reason}") from error
    check_form(causal, causal.get_output_embeddings())
    return "token classification" if has_class(config) else "causal language model with the head's rows"


def _initial_rows(output: nn.Linear, tokens: StepTokens, spec: PRMSpec, seed: int, scale: float,
                  ) -> tuple[Tensor, Tensor | None]:
    """Weight [1 + H, D] and bias of a new head, minus first; scaled as the model scales its logits.

    Every "+" begins as the same row. A learnt concentration begins at `START`, the same for every step.
    """
    weight = output.weight.data
    if spec.objective.fresh:
        rows = len(spec.labels)
        generator = torch.Generator().manual_seed(seed)
        fresh = torch.randn(rows, weight.shape[1], generator=generator) * weight.shape[1] ** -0.5
        return fresh.to(weight), torch.zeros(rows).to(weight)
    ids = [tokens.minus_id, *[tokens.plus_id] * max(1, len(spec.etas))]
    bias = None if output.bias is None else output.bias.data[ids] * scale
    if not spec.learns_concentration:
        return weight[ids] * scale, bias
    bias = torch.zeros(2).to(weight) if bias is None else bias
    start = bias[:1] + math.log(math.expm1(START))
    return weight[[*ids, tokens.minus_id]] * scale, torch.cat([bias, start])


def _classification_config(config: PreTrainedConfig, spec: PRMSpec, bias: bool) -> PreTrainedConfig:
    config.id2label, config.label2id = spec.labels, {label: index for index, label in spec.labels.items()}
    config.num_labels = len(spec.labels)
    config.token_classification_bias = bias
    config.classifier_dropout = 0.0
    return config
