"""Scores of growing solutions equal those of whole rows, and no token of a kept prefix is computed again."""

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from prm.families import TOKENIZER, causal
from transformers import LlamaConfig, LlamaForCausalLM

from erprm.errors import InputError
from erprm.prm.attention.paths import FAMILIES as PATH_FAMILIES
from erprm.prm.export import stock_scores
from erprm.prm.model import PRM
from erprm.prm.scoring.prefixes import PrefixScorer, search_scorer
from erprm.prm.scoring.scorer import PRMScorer
from erprm.prm.spec import PRMSpec

Text = tuple[str, list[str]]


@pytest.fixture(scope="module")
def prm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two heads share one key head, so that the pool's heads are not the queries'."""
    torch.manual_seed(0)
    tokenizer = tiny.tokenizer()
    config = LlamaConfig(vocab_size=len(tokenizer), hidden_size=64, intermediate_size=96, num_hidden_layers=3,
                         num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=256,
                         bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
                         pad_token_id=tokenizer.pad_token_id, initializer_range=0.1)
    folder = tmp_path_factory.mktemp("prm")
    PRM.from_base(LlamaForCausalLM(config).eval(), tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def rounds(questions: int = 3, width: int = 3, depth: int = 4) -> list[list[Text]]:
    """What a beam asks: each round every kept path with two next steps, of which `width` go on."""
    rng = np.random.default_rng(0)
    kept: list[Text] = [(f"{number}+3*{number}?", []) for number in range(questions)]
    asked = []
    for _ in range(depth):
        children = [(question, [*steps, f"{rng.integers(9)}+{rng.integers(99)}=x"])
                    for question, steps in kept for _ in range(2)]
        asked.append(children)
        kept = [children[index] for index in sorted(rng.permutation(len(children))[: width * questions])]
    return asked


@pytest.mark.parametrize("batch_tokens", [1, 60, 4096])
def test_scores_are_those_of_whole_rows(prm: Path, batch_tokens: int) -> None:
    whole = PRMScorer(prm, device="cpu")
    growing = PrefixScorer(PRMScorer(prm, device="cpu", batch_tokens=batch_tokens))
    assert growing.whole_rows is None
    for texts in rounds():
        for found, wanted in zip(growing.score(texts), whole.score(texts), strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_only_new_tokens_are_computed(prm: Path) -> None:
    """The count is that of distinct tokens over all rounds, each path of tokens once."""
    growing = PrefixScorer(PRMScorer(prm, device="cpu"))
    seen: set[tuple[int, ...]] = set()
    for texts in rounds():
        growing.score(texts)
        for row in growing.scorer.encode(texts):
            seen |= {tuple(row.ids[: end + 1].tolist()) for end in range(len(row.ids))}
        assert growing.report.computed == len(seen)
    growing.score(rounds()[-1])
    assert growing.report.computed == len(seen), "rows that are all known take no forward"
    assert growing.report.tokens > 3 * growing.report.computed


def test_a_small_memory_forgets_but_stays_right(prm: Path) -> None:
    whole = PRMScorer(prm, device="cpu")
    token = 2 * 3 * 32 * 4
    growing = PrefixScorer(PRMScorer(prm, device="cpu", batch_tokens=64), memory_gib=120 * token / 2**30)
    generous = PrefixScorer(PRMScorer(prm, device="cpu", batch_tokens=64))
    for texts in rounds():
        generous.score(texts)
        for found, wanted in zip(growing.score(texts), whole.score(texts), strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-5)
        assert growing._cache.used <= 120
    assert generous.report.computed < growing.report.computed < whole.report.tokens


def test_equal_tokens_cut_into_other_steps_are_scored_again(prm: Path) -> None:
    """Where a tag stands is part of a row: a step that another row has not is not taken over from it."""
    whole, growing = PRMScorer(prm, device="cpu"), PrefixScorer(PRMScorer(prm, device="cpu"))
    [row] = growing.scorer.encode([("1+1?", ["1+1", "=2"])])
    first = type(row)(row.ids, row.tag_positions[1:])  # as forms do that mark no step by a token of its own
    forward = growing._forward
    growing._score([first], forward, None)
    [scores], _ = growing._score([row], forward, None)
    np.testing.assert_allclose(scores, whole.score([("1+1?", ["1+1", "=2"])])[0], atol=1e-5)


@pytest.mark.parametrize("family", PATH_FAMILIES)
def test_every_family_that_keeps_prefixes_scores_as_the_stock_model(family: str, tmp_path: Path) -> None:
    """Windows are shorter than the rows where a family has them (`prm.families`)."""
    growing = PrefixScorer(saved(family, tmp_path, batch_tokens=60))
    assert growing.whole_rows is None
    for texts in rounds(depth=3):
        stock = stock_scores(tmp_path, "causal-lm", growing.scorer.checkpoint, texts)
        for found, wanted in zip(growing.score(texts), stock, strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert growing.report.computed < growing.report.tokens / 2


@pytest.mark.parametrize(("family", "change", "why"), [
    ("gemma2", {}, "Gemma2Model is not among the models whose rows are known to share tokens"),
    ("llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
     "LlamaModel rotates positions by the longest row of a batch"),
])
def test_models_whose_rows_cannot_share_tokens_are_scored_whole_and_say_why(
        family: str, change: dict[str, object], why: str, tmp_path: Path) -> None:
    scorer = saved(family, tmp_path, **change)
    assert why in PrefixScorer(scorer).note
    texts = rounds()[1]
    for found, wanted in zip(PrefixScorer(scorer).score(texts), scorer.score(texts), strict=True):
        np.testing.assert_array_equal(found, wanted)
    with pytest.raises(InputError, match=f"share: .*{why}"):
        PRMScorer(tmp_path, form="causal-lm", spec=PRMSpec(loss="vocab"), device="cpu", share=True)


def saved(family: str, folder: Path, batch_tokens: int | None = None, **change: object) -> PRMScorer:
    """A family's tiny model in a folder, its output head as the PRM's."""
    model = causal(family)
    for name, value in change.items():
        setattr(model.config, name, value)
    model.save_pretrained(folder)
    TOKENIZER.save_pretrained(folder)
    return PRMScorer(folder, form="causal-lm", spec=PRMSpec(loss="vocab"), device="cpu", batch_tokens=batch_tokens)


def test_without_memory_rows_are_scored_whole(prm: Path) -> None:
    off = PrefixScorer(PRMScorer(prm, device="cpu"), memory_gib=0)
    assert off.note == "; prefixes are scored anew: no memory was given to keep them"
    texts = rounds()[1]
    for found, wanted in zip(off.score(texts), PRMScorer(prm, device="cpu").score(texts), strict=True):
        np.testing.assert_array_equal(found, wanted)
    with pytest.raises(InputError, match="memory_gib"):
        PrefixScorer(off.scorer, memory_gib=-1.0)


def test_errors_name_the_row_and_leave_what_is_kept_usable(prm: Path) -> None:
    growing = PrefixScorer(PRMScorer(prm, device="cpu"))
    growing.score([("1+1?", ["1+1=2"])])
    with pytest.raises(InputError, match="row 2"):
        growing.score([("1+1?", ["1+1=2", "so 2"]), ("1+1?", ["x" * 300])])
    before = growing.report.computed
    texts = [("1+1?", ["1+1=2"]), ("1+1?", ["1+1=2", "so 2"])]
    growing.score(texts)
    short, long = growing.scorer.encode(texts)
    assert growing.report.computed - before == len(long.ids) - len(short.ids)


def test_a_score_that_is_not_finite_is_an_error_and_not_kept(prm: Path) -> None:
    scorer = PRMScorer(prm, device="cpu")
    odd = scorer.checkpoint.tokenizer("Z", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        scorer.forward.base.get_input_embeddings().weight[odd] = float("nan")
    growing = PrefixScorer(scorer)
    growing.score([("1+1?", ["1+1=2"])])
    with pytest.raises(InputError, match="expected a score in"):
        growing.score([("1+1?", ["1+1=2", "Z"]), ("1+1?", ["1+1=2", "3"])])
    [scores] = growing.score([("1+1?", ["1+1=2", "3"])])
    assert np.all(np.isfinite(scores))


def test_a_model_that_says_how_sure_it_is_keeps_its_intervals(tmp_path: Path) -> None:
    tokenizer = tiny.tokenizer()
    spec = PRMSpec(loss="beta_binomial", concentration="learnt")
    PRM.from_base(tiny.llama(), tokenizer, spec).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    whole, growing = PRMScorer(tmp_path, device="cpu", every=True), search_scorer(tmp_path, device="cpu")
    for texts in rounds()[:3]:
        for found, wanted in zip(growing.score(texts), whole.score(texts), strict=True):
            assert found.shape == (len(found), 3)
            np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert growing.report.computed < growing.report.tokens / 2


def test_a_model_of_several_etas_is_searched_with_one(tmp_path: Path) -> None:
    tokenizer = tiny.tokenizer()
    made = PRM.from_base(tiny.llama(), tokenizer, PRMSpec(targets={"kind": "er", "eta": [0.5, 2.0, 4.0]}))
    torch.manual_seed(1)
    with torch.no_grad():
        made.score.weight.add_(0.1 * torch.randn_like(made.score.weight))
    made.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"prm_eta: expected one eta of .*scores_eta_0\.5"):
        search_scorer(tmp_path, device="cpu")
    [found] = search_scorer(tmp_path, device="cpu", eta=2.0).score([("1+1?", ["1+1=2", "so 2"])])
    [wanted] = PRMScorer(tmp_path, device="cpu", eta=2.0).score([("1+1?", ["1+1=2", "so 2"])])
    assert found.shape == (2,)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
