"""Token-level guidance against the exact optimal policy, and with real models that share a tokenizer."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import tiny
import torch

from erprm.engines import Request, Sampling, load_engine
from erprm.engines.base import prefix_seed
from erprm.engines.batch import Writing
from erprm.errors import InputError
from erprm.prm.model import PRM
from erprm.prm.rows.tokens import EncodedRow
from erprm.prm.scoring.prefixes import PrefixScorer
from erprm.prm.scoring.scorer import PRMScorer
from erprm.selection.q_sharp import QSharp, StepValues, TokenValues, q_sharp_decode
from erprm.selection.search import SearchSettings
from erprm.values import mean_of_soft, soft_mean

TOKENS, LENGTH, TEMPERATURE = 5, 3, 0.7


def logits_of(prefix: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng((1, *prefix)).normal(size=TOKENS)


def reward(path: tuple[int, ...]) -> float:
    return float(np.random.default_rng((2, *path)).random())


def policy(prefix: tuple[int, ...]) -> np.ndarray:
    weights = np.exp(logits_of(prefix) / TEMPERATURE)
    return weights / weights.sum()


def value(prefix: tuple[int, ...], eta: float) -> float:
    """The exact V_eta by enumeration."""
    if len(prefix) == LENGTH:
        return reward(prefix)
    return float(soft_mean([value((*prefix, token), eta) for token in range(TOKENS)], eta, policy(prefix)))


@pytest.mark.parametrize("eta", [-2.0, 0.0, 3.0, 30.0])
@pytest.mark.parametrize("scores_are", ["value", "mean"])
def test_exact_values_give_exactly_the_optimal_policy(eta: float, scores_are: str) -> None:
    """The product of the tilted token probabilities of every path is pi0 exp(eta r) / Z."""
    def values(writings: list[Writing], candidates: np.ndarray) -> np.ndarray:
        found = np.array([[value((*writing.written, token), eta) for token in row]
                          for writing, row in zip(writings, candidates, strict=True)])
        return np.asarray(mean_of_soft(found, eta)) if scores_are == "mean" else found

    processor = QSharp(values, eta, top_k=TOKENS, scores_are=scores_are, temperature=TEMPERATURE)
    paths = list(itertools.product(range(TOKENS), repeat=LENGTH))
    found, wanted = [], []
    for path in paths:
        chance, plain = 1.0, 1.0
        for depth in range(LENGTH):
            prefix = path[:depth]
            logits = torch.from_numpy(logits_of(prefix))[None]
            tilted = processor.guide([Writing(0, (), prefix)], logits)[0] / TEMPERATURE
            chance *= float(torch.softmax(tilted, -1)[path[depth]])
            plain *= policy(prefix)[path[depth]]
        found.append(chance)
        wanted.append(plain * math.exp(eta * reward(path)))
    np.testing.assert_allclose(found, np.array(wanted) / sum(wanted), rtol=1e-9)


def test_candidates_without_a_score_count_as_the_others_mean_and_lost_ones_are_ruled_out() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    known = np.array([[0.2, np.nan, 0.9, -np.inf]])
    out = QSharp(lambda writings, candidates: known, 2.0, top_k=4).guide([Writing(0, (), ())], logits)[0]
    weights = np.exp([2.0, 0.0])
    mean = float(soft_mean([0.2, 0.9], 2.0, weights / weights.sum()))
    np.testing.assert_allclose(out[:3], np.array([2.4, 1.0 + 2 * mean, 1.8]) - 1.8, rtol=1e-6)
    assert out[3] == -np.inf
    top = QSharp(lambda writings, candidates: np.zeros((1, 2)), 2.0, top_k=2).guide([Writing(0, (), ())], logits)[0]
    assert top.tolist() == [2.0, 1.0, -np.inf, -np.inf]
    lost = QSharp(lambda writings, candidates: np.full((1, 4), -np.inf), 2.0, top_k=4).guide([Writing(0, (), ())],
                                                                                              logits)
    torch.testing.assert_close(lost, logits)


def test_the_engine_draws_from_the_tilted_policy(model_dir: Path) -> None:
    """Two tokens of a real model, the value of each pair known: chi-square against the exact law."""
    engine = load_engine("transformers", str(model_dir), batch_rows=512)
    eta, top_k = 2.5, 3

    def values(writings: list[Writing], candidates: np.ndarray) -> np.ndarray:
        return np.array([[np.random.default_rng((*writing.written, token)).random() for token in row]
                         for writing, row in zip(writings, candidates.tolist(), strict=True)])

    law: dict[tuple[int, ...], float] = {}
    prompt: list[int] = []

    def spy(writings: list[Writing], logits: torch.Tensor) -> torch.Tensor:
        tilted = processor.guide(writings, logits)
        for writing, row in zip(writings, tilted, strict=True):
            prompt[:] = writing.prompt
            for token, chance in enumerate(torch.softmax(row.double(), -1).tolist()):
                if chance:
                    law[(*writing.written, token)] = chance
        return tilted

    drawn: list[tuple[int, ...]] = []

    def record(writings: list[Writing], logits: torch.Tensor) -> torch.Tensor:
        drawn.extend(tuple(writing.written) for writing in writings if len(writing.written) == 2)
        return spy(writings, logits)

    processor = QSharp(values, eta, top_k=top_k)
    engine.sample([Request("2+3?", "", 2000, 11)], Sampling(max_tokens=3), record)
    pairs = [(first, second) for first, second in (path for path in law if len(path) == 2)]
    expected = np.array([law[pair[:1]] * law[pair] for pair in pairs])
    counts = np.array([drawn.count(pair) for pair in pairs])
    assert counts.sum() == len(drawn) > 1500, "but for those that ended"
    assert len(pairs) == 9
    assert scipy.stats.chisquare(counts, expected / expected.sum() * counts.sum()).pvalue > 1e-3
    engine.close()


@pytest.fixture(scope="module")
def prm_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prm")
    PRM.from_base(tiny.llama(seed=3), tiny.tokenizer()).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


def test_a_step_level_model_is_asked_for_the_text_with_each_candidate(model_dir: Path, prm_dir: Path) -> None:
    engine = load_engine("transformers", str(model_dir))
    scorer = PrefixScorer(PRMScorer(prm_dir, device="cpu"))
    ids = engine.tokenizer("2+3=5\nso", add_special_tokens=False)["input_ids"]
    [plus], [line] = (engine.tokenizer(text, add_special_tokens=False)["input_ids"] for text in "9\n")
    end = engine.tokenizer.eos_token_id
    values = StepValues(engine, scorer.score, ["q0", "q1"], "newline")
    found = values([Writing(1, (), ids), Writing(0, (), [])], np.array([[plus, line, end], [line, end, plus]]))
    [longer, same, start] = PRMScorer(prm_dir, device="cpu").score([("q1", ["2+3=5", "so9"]), ("q1", ["2+3=5", "so"]),
                                                                    ("q0", ["9"])])
    np.testing.assert_allclose(found[0], [longer[-1], same[-1], same[-1]], atol=1e-5)
    assert np.isnan(found[1, :2]).all(), "nothing is written yet"
    assert found[1, 2] == pytest.approx(float(start[0]), abs=1e-5)
    engine.close()


def test_solutions_are_scored_repeat_and_are_the_policys_own_at_eta_0(model_dir: Path, prm_dir: Path) -> None:
    engine = load_engine("transformers", str(model_dir))
    scorer = PrefixScorer(PRMScorer(prm_dir, device="cpu"))
    settings = SearchSettings(trees=4, max_steps=1, sampling=Sampling(max_tokens=6))
    [guided] = q_sharp_decode(["2+3?"], engine, scorer.score, settings, eta=50.0, top_k=3)
    assert guided
    assert all(len(path.scores) == len(path.steps) for path in guided)
    assert q_sharp_decode(["2+3?"], engine, scorer.score, settings, eta=50.0, top_k=3) == [guided]
    [plain] = q_sharp_decode(["2+3?"], engine, lambda texts: [np.full(len(steps), 0.3) for _, steps in texts], settings,
                             eta=0.0, top_k=1000)
    [sampled] = engine.sample([Request("2+3?", "", 4, prefix_seed(0, "q-sharp", "2+3?"))], Sampling(max_tokens=6))
    assert [path.text for path in plain] == [one.text for one in sampled if one.text.strip()]
    engine.close()


def test_the_processor_works_in_generate_with_a_model_of_the_same_tokenizer(prm_dir: Path) -> None:
    """Greedy generation under a large eta follows the value model's own argmax among the likeliest tokens."""
    tokenizer, model = tiny.tokenizer(), tiny.llama()
    scorer = PrefixScorer(PRMScorer(prm_dir, device="cpu"))
    inputs = tokenizer(["2+3?", "5+4?"], return_tensors="pt")
    processor = QSharp(TokenValues(scorer, tokenizer), 1e4, top_k=4)
    out = model.generate(**inputs, logits_processor=[processor], do_sample=False, max_new_tokens=3, eos_token_id=None)
    for row in out:
        for place in range(inputs["input_ids"].shape[1], len(row)):
            with torch.no_grad():
                likely = model(input_ids=row[None, :place]).logits[0, -1].topk(4).indices
            rows = [EncodedRow(np.array([*row[:place].tolist(), token]), np.array([place]))
                    for token in likely.tolist()]
            scores = [float(part[0]) for part in PrefixScorer(scorer.scorer).score_ids(rows)]
            assert scores[likely.tolist().index(int(row[place]))] == pytest.approx(max(scores), abs=1e-6)


def test_another_tokenizer_and_bad_arguments_are_refused(prm_dir: Path) -> None:
    scorer = PrefixScorer(PRMScorer(prm_dir, device="cpu"))
    with pytest.raises(InputError, match="expected the policy's tokenizer, found that token"):
        TokenValues(scorer, tiny.tokenizer((" ки", " yes")))
    for arguments, words in (((math.inf,), "eta"), ((1.0, 0), "top_k: expected at least 1")):
        with pytest.raises(InputError, match=words):
            QSharp(lambda writings, candidates: np.zeros((1, 1)), *arguments)
