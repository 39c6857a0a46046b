"""However rows are laid out, losses, gradients and scores are those of separate rows."""

import dataclasses
import sys

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prm.rows_of_steps import rows
from torch._dynamo.exc import FailOnRecompileLimitHit
from torch._dynamo.testing import CompileCounter
from torch.nn.attention.flex_attention import create_block_mask, create_mask
from transformers import LlamaConfig

from erprm.errors import InputError
from erprm.prm.attention import blocks, spans
from erprm.prm.model import PRM
from erprm.prm.rows.tokens import StepTokens
from erprm.prm.spec import PRMSpec
from erprm.prm.training.batches import Collator
from erprm.prm.training.encode import encode_dataset
from erprm.prm.training.layout import choose_layout, sharing
from erprm.prm.training.learnt import choose_learnt, labelled_steps
from erprm.prm.training.order import RowSampler
from erprm.rows import StepRow
from erprm.values.spec import TargetSpec

TOKENIZER = tiny.tokenizer()
TOKENS = StepTokens.from_tokenizer(TOKENIZER)
DATA = rows()
DATASET, _ = encode_dataset([*DATA, DATA[0]], TOKENIZER, TOKENS)  # one row twice: a whole row is shared
TARGET = TargetSpec("er", 2.0)


def separate(model: PRM, chosen: list[int], learnt: str) -> tuple[float, torch.Tensor, np.ndarray]:
    """Loss, gradient and scores from one forward per row."""
    collator = Collator(DATASET, TARGET, learnt=learnt)
    scores = np.full(len(DATASET.tags), np.nan)
    total, steps_in_all = 0.0, sum(len(collator.batch([row])[1]) for row in chosen)
    for row in chosen:
        batch, steps = collator.batch([row])
        output = model(**batch, num_items_in_batch=float(steps_in_all))
        output.loss.backward()
        total += output.loss.item()
        scores[steps] = output.scores.numpy()
    return total, torch.cat([p.grad.flatten() for p in model.parameters()]), scores


@pytest.mark.parametrize("loss", ["pair", "head", "vocab", "beta_binomial"])
@pytest.mark.parametrize("at_tags", [True, False])
@pytest.mark.parametrize("layout", ["padded", "binned", "shared"])
def test_layouts_equal_separate_rows(layout: str, at_tags: bool, loss: str) -> None:
    model = PRM.from_base(tiny.llama(), TOKENIZER, PRMSpec(loss=loss, targets={"eta": TARGET.eta}))
    model.at_tags = at_tags
    chosen = list(range(len(DATASET)))
    learnt = choose_learnt(DATASET, TARGET, loss)
    total, gradient, scores = separate(model, chosen, learnt)
    model.zero_grad()
    batch, steps = Collator(DATASET, TARGET, layout=layout, learnt=learnt, capacity=150).batch(chosen)
    output = model(**batch)
    output.loss.backward()
    again = np.full(len(DATASET.tags), np.nan)
    again[steps] = output.scores.numpy()
    assert float(output.loss) == pytest.approx(total, abs=1e-5)
    torch.testing.assert_close(torch.cat([p.grad.flatten() for p in model.parameters()]), gradient, atol=1e-5, rtol=0)
    np.testing.assert_allclose(again, scores, atol=1e-5)


@pytest.mark.parametrize("loss", ["pair", "vocab", "beta_binomial"])
@pytest.mark.parametrize("layout", ["padded", "shared"])
def test_weight_two_is_the_row_twice_and_weight_zero_leaves_it_out(layout: str, loss: str) -> None:
    model = PRM.from_base(tiny.llama(), TOKENIZER, PRMSpec(loss=loss, targets={"eta": TARGET.eta}))

    def loss_and_gradient(data: list[StepRow]) -> tuple[float, torch.Tensor]:
        dataset, report = encode_dataset(data, TOKENIZER, TOKENS)
        assert report.read == report.kept + report.dropped["of weight 0"] == len(data)
        learnt = choose_learnt(dataset, TARGET, loss)
        batch = Collator(dataset, TARGET, layout=layout, learnt=learnt)(range(len(dataset)))
        model.zero_grad()
        output = model(**batch, num_items_in_batch=labelled_steps(batch))
        output.loss.backward()
        return output.loss.item(), torch.cat([p.grad.flatten() for p in model.parameters()])

    def weighted(weights: tuple[float, ...]) -> list[StepRow]:
        return [dataclasses.replace(row, weight=weight) for row, weight in zip(DATA, weights, strict=True)]

    rest = (1.0,) * (len(DATA) - 2)
    expected, gradient = loss_and_gradient([DATA[0], DATA[0], *DATA[2:]])
    for weights in ((2.0, 0.0, *rest), (0.5, 0.0, *(0.25 * weight for weight in rest))):
        total, of_weights = loss_and_gradient(weighted(weights))
        assert total == pytest.approx(expected, abs=1e-6)
        torch.testing.assert_close(of_weights, gradient, atol=1e-6, rtol=0)
    assert loss_and_gradient(weighted((1.0, 1.0, *rest)))[0] != pytest.approx(expected, abs=1e-4)


def test_sharing_computes_the_common_tokens_once() -> None:
    chosen = range(len(DATASET))
    shared = Collator(DATASET, TARGET, layout="shared")(chosen)
    rows_tokens, distinct = sharing(DATASET).tokens, sharing(DATASET).distinct
    assert rows_tokens == len(DATASET.ids)
    ends = shared["ends"]
    padding = (ends == torch.arange(1, ends.shape[1] + 1)) & (shared["input_ids"] == 0)
    assert distinct <= int((~padding).sum())
    assert distinct < 0.6 * rows_tokens
    assert len(shared["tag_positions"]) == len(shared["labels"]) < len(shared["tag_of_step"]) == len(DATASET.tags)


@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_flex_attention_is_asked_for_the_same_mask(data: st.DataObject) -> None:
    """The table from the ends alone is that of the whole mask, looked at block by block."""
    draw = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    length = 4 * blocks.BLOCK
    reach = np.maximum(np.arange(length) + draw.integers(1, 3 * blocks.BLOCK, (2, length)),
                       draw.integers(0, 2, (2, 1)) * draw.integers(0, length + 1, (2, length)))
    ends = torch.from_numpy(np.minimum(reach, length).astype(np.int32))
    positions = torch.arange(length).expand(2, -1)
    for window in (None, 100):
        made = blocks.block_mask(torch.from_numpy(blocks.block_table(ends.numpy())), ends, positions, window)
        dense = spans.dense_mask(ends, positions, window)
        torch.testing.assert_close(create_mask(made.mask_mod, 2, 1, length, length, device="cpu"), dense)
        if window is None:
            stock = create_block_mask(made.mask_mod, 2, None, length, length, device="cpu")
            for name in ("kv_num_blocks", "full_kv_num_blocks", "q_num_blocks", "full_q_num_blocks"):
                torch.testing.assert_close(getattr(made, name), getattr(stock, name), msg=name)
            torch.testing.assert_close(made.to_dense(), stock.to_dense())


def test_flex_attention_is_compiled_once_for_all_lengths_and_refuses_to_be_compiled_too_often(
        monkeypatch: pytest.MonkeyPatch) -> None:
    counter = CompileCounter()
    run = blocks.entry.__wrapped__(counter)
    generator = torch.Generator().manual_seed(0)

    def attend(rows: int, size: int) -> None:
        ends = torch.arange(1, size * blocks.MULTIPLE + 1, dtype=torch.int32).add(9).clamp_max(size * blocks.MULTIPLE)
        ends = ends.expand(rows, -1)
        q, k, v = torch.randn(3, rows, 2, ends.shape[1], 16, generator=generator)
        mask = blocks.block_mask(torch.from_numpy(blocks.block_table(ends.numpy())), ends)
        expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=spans.dense_mask(ends))
        torch.testing.assert_close(run(q, k, v, block_mask=mask), expected, atol=1e-5, rtol=0)

    for size in (1, 2, 3, 4):
        attend(1, size)
    assert counter.frame_count <= 2
    monkeypatch.setattr(torch._dynamo.config, "recompile_limit", 1)
    with pytest.raises(FailOnRecompileLimitHit):
        run(*torch.randn(3, 1, 2, 512, 16, dtype=torch.float64, generator=generator))


def test_a_batch_for_flex_attention_has_a_round_length_and_its_table() -> None:
    plain, flex = (Collator(DATASET, TARGET, layout="shared", capacity=sys.maxsize, flex=flex)(range(len(DATASET)))
                   for flex in (False, True))
    length = plain["input_ids"].shape[1]
    assert flex["input_ids"].shape[1] == -(-length // blocks.MULTIPLE) * blocks.MULTIPLE > length
    np.testing.assert_array_equal(flex["mask_blocks"], blocks.block_table(flex["ends"].numpy()))
    torch.testing.assert_close(flex["tag_positions"], plain["tag_positions"])
    model = PRM.from_base(tiny.llama(), TOKENIZER)
    torch.testing.assert_close(model(**flex).loss, model(**plain).loss)
    config = LlamaConfig(attn_implementation=blocks.FLEX)
    with pytest.raises(InputError, match="mask_blocks: expected the table"):
        spans.arguments(config, torch.float32, flex["ends"], None, None, None)


def test_packed_rows_carry_what_varlen_attention_reads() -> None:
    batch = Collator(DATASET, TARGET, layout="packed")([3, 0, 5])
    cu = batch["cu_seqlens"]
    assert cu.dtype == torch.int32
    assert np.diff(cu).tolist() == DATASET.lengths[[3, 0, 5]].tolist()
    assert batch["max_length"] == max(np.diff(cu))
    ids, positions = batch["input_ids"][0], batch["position_ids"][0]
    assert torch.all(ids[batch["tag_positions"]] == TOKENS.tag_id)
    assert torch.all(positions[cu[:-1]] == 0)
    names = spans.arguments(LlamaConfig(attn_implementation="flash_attention_2"), torch.bfloat16, None, None, cu,
                            batch["max_length"])
    assert names["cu_seq_lens_q"] is cu
    config = LlamaConfig(attn_implementation=spans.VARLEN)
    assert spans.arguments(config, torch.bfloat16, None, None, cu, 9)["max_length"] == 9


def test_eager_attention_gives_the_same_scores_under_a_mask() -> None:
    model = PRM.from_base(tiny.llama(), TOKENIZER)
    batch = Collator(DATASET, TARGET, layout="shared")(range(6))
    expected = model(**batch).scores
    model.model.set_attn_implementation("eager")
    torch.testing.assert_close(model(**batch).scores, expected, atol=1e-5, rtol=0)


def test_targets_are_chosen_at_batch_time() -> None:
    collator = Collator(DATASET, TargetSpec("er", 2.0))
    before = collator([0, 1])["labels"]
    collator.target = TargetSpec("er", 10.0)
    after = collator([0, 1])["labels"]
    assert torch.all(after >= before)
    assert torch.any(after > before)


def test_an_unlabelled_batch_has_a_zero_loss_with_a_graph() -> None:
    model = PRM.from_base(tiny.llama(), TOKENIZER)
    batch = Collator(DATASET, TARGET)([0])
    output = model(input_ids=batch["input_ids"], tag_positions=torch.empty(0, dtype=torch.int64), labels=torch.empty(0))
    output.loss.backward()
    assert float(output.loss) == 0.0
    assert all(float(p.grad.abs().sum()) == 0.0 for p in model.parameters())


@pytest.mark.parametrize("grouped", [0, 4])
def test_an_epoch_holds_every_row_once_in_an_order_of_its_own(grouped: int) -> None:
    sampler = RowSampler(DATASET, step_rows=4, window=2, group_rows=grouped, seed=1)
    first = list(sampler)
    assert sorted(first) == list(range(len(DATASET)))
    assert list(sampler) == first
    sampler.set_epoch(1)
    assert list(sampler) != first


def test_steps_hold_rows_of_like_length_or_of_one_problem() -> None:
    lengths = DATASET.lengths
    by_length = list(RowSampler(DATASET, step_rows=4, window=100))
    spread = np.mean([np.ptp(lengths[by_length[at: at + 4]]) for at in range(0, 32, 4)])
    assert spread < 0.5 * np.mean([np.ptp(lengths[at: at + 4]) for at in range(0, 32, 4)])
    grouped = DATASET.problems[list(RowSampler(DATASET, step_rows=8, group_rows=4))]
    assert np.count_nonzero(np.diff(grouped)) <= 12


def test_auto_shares_where_it_pays() -> None:
    config = tiny.llama().config
    assert choose_layout("auto", "cuda", DATASET, config, step_rows=64, batch_rows=64) == "shared"
    assert choose_layout("auto", "cuda", DATASET, config, step_rows=4, batch_rows=4) == "packed"  # one problem a step
    # Thirty short rows a problem: on a CPU the pairs of a tree's dense square cost more than the tokens that it saves.
    dataset, _ = encode_dataset(rows(solutions=30), TOKENIZER, TOKENS)
    assert choose_layout("auto", "cuda", dataset, config, step_rows=128, batch_rows=128) == "shared"
    assert choose_layout("auto", "cpu", dataset, config, step_rows=128, batch_rows=128) == "padded"
    wide = type(config)(hidden_size=4096, intermediate_size=14336)
    alike = [dataclasses.replace(row, prompt=f"{row.prompt} {'to be read once ' * 4}") for row in DATA]
    dataset, _ = encode_dataset(alike, TOKENIZER, TOKENS)
    assert choose_layout("auto", "cpu", dataset, wide, step_rows=64, batch_rows=64) == "shared"


def test_varlen_wants_half_precision() -> None:
    with pytest.raises(InputError, match="bf16"):
        spans.implementation(torch.device("cuda"), "varlen", half_precision=False)
