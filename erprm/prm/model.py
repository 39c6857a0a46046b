"""`PRM`: a stock transformer with a two-row step head instead of its vocabulary head.

    model = PRM.from_base("meta-llama/Llama-3.2-1B", tokenizer, PRMSpec(loss="pair"))
    output = model(input_ids=ids, tag_positions=positions, labels=targets)     # output.loss, output.scores
    model.save_pretrained(folder)                                              # a stock checkpoint plus erprm.json
    model = PRM.load(folder)

The parameters are named as in the stock `...ForTokenClassification` class (`model.*`, `score.weight`: row 0 is class
"-", row 1 class "+"), so that the weights on disk are a stock checkpoint. With the "vocab" loss they are those of the
causal language model. A family that has no token classification class (Gemma-3, OLMo-2, Granite, ...) is saved as its
causal language model's transformer with the two rows beside it (`score.weight`), which `load` and the scorer read.

Glossary: B batch rows, T tokens of a batch row, N = B T, M labelled steps, U tags, D hidden, V vocabulary.
"""

from __future__ import annotations

import contextlib
import copy
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
from erprm.prm.attention import spans, tags_only
from erprm.prm.checkpoints.folders import REFUSALS, check_folder, refusal
from erprm.prm.checkpoints.weights import WeightFiles, two_rows
from erprm.prm.logits import logit_rule, uncapped
from erprm.prm.losses import StepTargets, counts_loss, pair_loss, pair_scores, vocabulary_loss
from erprm.prm.rows.tokens import StepTokens
from erprm.prm.spec import FILE_NAME, PRMSpec

ID2LABEL = {0: "-", 1: "+"}


@dataclass
class StepOutput(ModelOutput):  # type: ignore[misc]
    """`loss`: scalar float32, None without targets. `scores`: [M] float32 = P(+) at each labelled tag."""

    loss: Tensor | None = None
    scores: Tensor | None = None


class StepHead(nn.Module):
    """The two rows of the output head, `weight` [2, D] (row 0 "-", row 1 "+"), with a `bias` [2] or none.

    Its forward takes hidden states and tag positions, so that it shards under FSDP and wraps under PEFT as any module.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = None if bias is None else nn.Parameter(bias)

    def forward(self, hidden: Tensor, positions: Tensor, targets: StepTargets | None = None,
                concentration: float | None = None) -> tuple[Tensor | None, Tensor]:
        """Loss (None without targets) and scores [M] at `positions` [M] int64 of `hidden` [N, D].

        With `concentration` the loss is the Beta-binomial likelihood of the counts, else the soft cross-entropy.
        """
        if targets is None:
            return None, pair_scores(hidden, self.weight, self.bias, positions)
        if concentration is not None:
            return counts_loss(hidden, self.weight, self.bias, positions, targets, concentration)
        return pair_loss(hidden, self.weight, self.bias, positions, targets)


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
            InputError: as `from_base`, or for a PRM whose head is of another kind than the loss of `spec`.
        """
        if isinstance(source, PRM):
            known = source.spec
        elif not isinstance(source, PreTrainedModel) and (Path(source) / FILE_NAME).is_file():
            known = PRMSpec.load(source)
        else:
            return cls.from_base(source, tokenizer, spec, seed=seed, **options)
        if known.objective.vocabulary != spec.objective.vocabulary:
            raise InputError(f"loss: expected {known.loss!r}, as the model was trained, found {spec.loss!r}")
        tokens = StepTokens.from_tokenizer(tokenizer, spec.tags.filled(known.tags))
        prm = source if isinstance(source, PRM) else cls.load(source, tokenizer, **options)
        tokens.check(prm.get_input_embeddings().weight.shape[0])
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
        return cls(_classification_config(config, bias is not None), causal.model, StepHead(weight, bias), spec, tokens)

    @classmethod
    def from_stock(cls, stock: PreTrainedModel, spec: PRMSpec, tokens: StepTokens | None = None) -> PRM:
        """A PRM over a stock `...ForTokenClassification` (two labels) or, for the "vocab" loss, `...ForCausalLM`."""
        if spec.objective.vocabulary:
            return cls(stock.config, stock.model, stock.lm_head, spec, tokens)
        score = stock.score
        if score.weight.shape[0] != 2:
            raise InputError(f"score: expected a head of 2 rows, found {score.weight.shape[0]}")
        # Asked of the config: older stock classes add a bias of zeros to a head that was saved without one.
        bias = score.bias.data if getattr(stock.config, "token_classification_bias", True) else None
        return cls(_classification_config(stock.config, bias is not None), stock.model,
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
            weight, bias = two_rows(WeightFiles(folder), config.get_text_config().hidden_size)
            if not has_class(config):
                base = AutoModel.from_pretrained(str(folder), **options)
                head = StepHead(weight.to(base.dtype), None if bias is None else bias.to(base.dtype))
                return cls(_classification_config(config, bias is not None), base, head, spec, tokens)
        auto = AutoModelForCausalLM if spec.objective.vocabulary else AutoModelForTokenClassification
        return cls.from_stock(auto.from_pretrained(str(folder), **options), spec, tokens)

    # ---- use ----

    def forward(self, input_ids: Tensor, tag_positions: Tensor, labels: Tensor | None = None,
                position_ids: Tensor | None = None, ends: Tensor | None = None, cu_seqlens: Tensor | None = None,
                max_length: int | None = None, successes: Tensor | None = None, trials: Tensor | None = None,
                tag_of_step: Tensor | None = None, num_items_in_batch: Tensor | float | None = None) -> StepOutput:
        """Loss and scores at the tags.

        Args:
            input_ids: [B, T] int64; every row packed or padded on the right.
            tag_positions: [U] int64, ascending distinct positions in the flattened [B T].
            labels: [M] float32 targets in [0, 1]; without them only scores are returned.
            position_ids: [B, T] int64; None counts from 0 in every row.
            ends: [B, T] int, or cu_seqlens: [S + 1] int32 and max_length: how rows are packed (see
                `erprm.prm.attention.spans`); none of them for one row per batch row.
            successes, trials: [M] int32 counts, for the "beta_binomial" loss.
            tag_of_step: [M] int64 into `tag_positions`, where several steps share a tag (shared prefixes); None when
                step m stands at tag m.
            num_items_in_batch: labelled steps of the whole optimiser step; None for M.
        """
        if position_ids is None:
            position_ids = torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)
        extra = spans.arguments(self.model.config, self.dtype, ends, position_ids, cu_seqlens, max_length)
        if self.at_tags:
            extra["tag_positions"] = tag_positions
        hidden = self.model(input_ids=input_ids, position_ids=position_ids, use_cache=False, **extra).last_hidden_state
        hidden = hidden.view(-1, hidden.shape[-1])
        if self.at_tags:
            positions = torch.arange(tag_positions.shape[0], device=hidden.device)
        else:
            positions = tag_positions
        if tag_of_step is not None:
            hidden = hidden.index_select(0, positions.index_select(0, tag_of_step))
            positions = torch.arange(tag_of_step.shape[0], device=hidden.device)
        targets = None if labels is None else StepTargets(labels, successes, trials, num_items_in_batch)
        loss, scores = self._head(hidden, positions, targets)
        return StepOutput(loss=loss, scores=scores)

    def _head(self, hidden: Tensor, positions: Tensor, targets: StepTargets | None) -> tuple[Tensor | None, Tensor]:
        if not self.spec.objective.vocabulary:
            concentration = self.spec.concentration if self.spec.objective.counts else None
            return cast(tuple[Tensor | None, Tensor], self.score(hidden, positions, targets, concentration))
        if self.tokens is None:
            raise InputError("tokenizer: the vocab loss needs the label ids; load the model with its tokenizer")
        ids = (self.tokens.plus_id, self.tokens.minus_id)
        if self.logit_scale != 1.0:
            hidden = hidden * self.logit_scale
        if targets is None:
            rows = self.lm_head.weight[[ids[1], ids[0]]]
            return None, pair_scores(hidden, rows, None, positions)
        return vocabulary_loss(hidden, self.lm_head.weight, ids, positions, targets)

    def get_input_embeddings(self) -> nn.Module:
        """The base model's token embedding."""
        return cast(nn.Module, self.model.get_input_embeddings())

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
    try:
        causal: PreTrainedModel = AutoModelForCausalLM.from_pretrained(str(source), **options)
    except REFUSALS as error:
        raise refusal(Path(source), error) from error
    return causal


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
    return "token classification" if has_class(config) else "causal language model with the head's two rows"


def _initial_rows(output: nn.Linear, tokens: StepTokens, spec: PRMSpec, seed: int, scale: float,
                  ) -> tuple[Tensor, Tensor | None]:
    """Weight [2, D] and bias of a new head, minus first; scaled as the model scales its logits."""
    weight = output.weight.data
    if spec.objective.fresh:
        generator = torch.Generator().manual_seed(seed)
        fresh = torch.randn(2, weight.shape[1], generator=generator) * weight.shape[1] ** -0.5
        return fresh.to(weight), torch.zeros(2).to(weight)
    ids = [tokens.minus_id, tokens.plus_id]
    return weight[ids] * scale, None if output.bias is None else output.bias.data[ids] * scale


def _classification_config(config: PreTrainedConfig, bias: bool) -> PreTrainedConfig:
    config.id2label, config.label2id = dict(ID2LABEL), {label: index for index, label in ID2LABEL.items()}
    config.num_labels = 2
    config.token_classification_bias = bias
    config.classifier_dropout = 0.0
    return config
