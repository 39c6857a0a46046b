"""Search on a policy whose probabilities are known, and once on a real model."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
import scipy.stats
from selection.toy_chain import FIRST, REWARD, SECOND, TwoSteps, soft_values

from erprm.engines import Sampling, load_engine
from erprm.errors import InputError
from erprm.selection import particle_search
from erprm.selection.beam import beam_search
from erprm.selection.guided import guided_decode, guided_log_probs
from erprm.selection.methods import METHODS, MethodOptions
from erprm.selection.particles import Particles, systematic
from erprm.selection.search import SearchSettings


def test_beam_search_finds_the_best_path_and_ends() -> None:
    settings = SearchSettings(width=2, expand=24, aggregation="last")
    [paths] = beam_search(["q"], TwoSteps(), soft_values(0.0), settings)
    assert paths[0].steps == ("c", "y")
    assert all(path.finished and not path.open for path in paths)
    assert [path.value("last") for path in paths] == sorted((path.value("last") for path in paths), reverse=True)
    assert len(paths) == 2


def test_search_repeats_with_its_seed_and_does_not_depend_on_other_questions() -> None:
    settings = SearchSettings(width=1, expand=2, trees=3, aggregation="min", seed=5)
    together = beam_search(["q", "r", "s"], TwoSteps(), soft_values(1.0), settings)
    assert beam_search(["r"], TwoSteps(), soft_values(1.0), settings) == [together[1]]


def test_independent_trees_explore_more_than_one_beam() -> None:
    """DVTS: each tree goes its own way; one wide beam of the same budget holds near copies of the best."""
    questions = [f"q{i}" for i in range(60)]
    def firsts(settings: SearchSettings) -> float:
        return float(np.mean([len({p.steps[0] for p in paths}) for paths in
                              beam_search(questions, TwoSteps(), soft_values(2.0), settings)]))
    assert firsts(SearchSettings(trees=4, width=1, expand=2)) > firsts(SearchSettings(trees=1, width=4, expand=2))


def choice_law(chances: dict[str, float], values: dict[str, float], eta: float, candidates: int) -> dict[str, float]:
    """The exact probability of each step when one of `candidates` draws is taken with weight exp(eta V)."""
    names = list(chances)
    law = dict.fromkeys(names, 0.0)
    for counts in itertools.product(range(candidates + 1), repeat=len(names)):
        if sum(counts) == candidates:
            mass = scipy.stats.multinomial.pmf(counts, candidates, list(chances.values()))
            weights = [count * math.exp(eta * values[name]) for name, count in zip(names, counts, strict=True)]
            for name, weight in zip(names, weights, strict=True):
                law[name] += mass * weight / sum(weights)
    return law


@pytest.mark.parametrize("n", [1, 3, 8])
@pytest.mark.parametrize("method", [name for name in METHODS if name != "q-sharp"])
def test_no_method_samples_more_than_its_n(method: str, n: int) -> None:
    """N whole solutions, or N next steps at a time: two times here. A smaller N than `expand` counts too."""
    policy = TwoSteps()
    METHODS[method].search(["q"], policy, soft_values(2.0), MethodOptions(SearchSettings(expand=4), n=n))
    assert 0 < policy.written <= (n if method in ("best-of-n", "majority", "adaptive") else 2 * n)


@pytest.mark.parametrize(("candidates", "draws"), [(4, 1500), (64, 400)])
@pytest.mark.parametrize("eta", [0.0, 3.0])
def test_guided_decoding_samples_the_optimal_policy(eta: float, candidates: int, draws: int) -> None:
    """Chi-square of whole solutions against the exact law of K candidates, and at 64 against pi* itself."""
    found = guided_decode([f"q{i}" for i in range(draws)], TwoSteps(), soft_values(eta),
                          SearchSettings(expand=candidates), eta)
    counts = [sum(paths[0].steps == steps for paths in found) for steps in REWARD]
    values = {name: float(soft_values(eta)([("", [name])])[0][0]) for name in FIRST}
    first = choice_law(FIRST, values, eta, candidates)
    second = {a: choice_law(SECOND, {b: REWARD[a, b] for b in SECOND}, eta, candidates) for a in FIRST}
    law = np.array([first[a] * second[a][b] for a, b in REWARD])
    assert scipy.stats.chisquare(counts, draws * law).pvalue > 1e-3
    weight = np.array([FIRST[a] * SECOND[b] * math.exp(eta * REWARD[a, b]) for a, b in REWARD])
    optimal = weight / weight.sum()
    assert np.abs(law - optimal).max() < (0.15 if candidates == 4 else 0.01)
    if candidates == 64:
        assert scipy.stats.chisquare(counts, draws * optimal).pvalue > 1e-3


def test_guided_log_probabilities_add_eta_times_the_value() -> None:
    log_probs = np.log(list(FIRST.values()))
    got = guided_log_probs(log_probs, [0.1, 0.5, 1.0], 4.0)
    want = np.array(list(FIRST.values())) * np.exp(4.0 * np.array([0.1, 0.5, 1.0]))
    np.testing.assert_allclose(np.exp(got), want / want.sum())
    assert np.exp(guided_log_probs([0.0, 0.0], [0.0, 1.0], 1e4)).tolist() == [0.0, 1.0]


def test_guidance_by_success_rates_equals_guidance_by_soft_values() -> None:
    """For a last step, V_eta = ln(1 - p + p e^eta) / eta: both readings of the score draw the same solutions."""
    rates = soft_values(0.0)
    settings = SearchSettings(expand=6, trees=20)
    by_rate = guided_decode(["q"], TwoSteps(), rates, settings, 0.0, scores_are="mean")
    assert by_rate == guided_decode(["q"], TwoSteps(), rates, settings, 0.0, scores_are="value")


def test_search_with_a_real_policy(model_dir) -> None:
    """A random Llama writes bytes: every path is cut by its budget or ended by the model, and scores line up."""
    engine = load_engine("transformers", str(model_dir))

    def score(texts: Sequence[tuple[str, Sequence[str]]]) -> list[np.ndarray]:
        return [np.array([1.0 / (1.0 + len(step)) for step in steps], np.float32) for _, steps in texts]

    settings = SearchSettings(width=2, expand=3, max_steps=3, sampling=Sampling(max_tokens=12))
    [first, second] = beam_search(["2+3?", "4+4?"], engine, score, settings)
    for path in first + second:
        assert len(path.scores) == len(path.steps) <= 3
        assert not path.open
        assert not any("\n" in step for step in path.steps)
    engine.close()


@pytest.mark.parametrize(("make", "words"), [
    (lambda: SearchSettings(width=0), "width: expected at least 1, found 0"),
    (lambda: SearchSettings(splitter="auto"), "splitter"),
    (lambda: guided_decode(["q"], TwoSteps(), soft_values(0.0), SearchSettings(), math.nan), "eta"),
    (lambda: guided_decode(["q"], TwoSteps(), soft_values(0.0), SearchSettings(), 1.0, "reward"), "scores_are"),
])
def test_bad_settings_are_named(make, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()


# Particle search against the exact optimal policy of the table
ETA = 3.0
WEIGHT = {(a, b): FIRST[a] * SECOND[b] * math.exp(ETA * REWARD[a, b]) for a in FIRST for b in SECOND}
Z = sum(WEIGHT.values())


def particles_of(runs: int, particles: int) -> list[Particles]:
    questions = [f"q{i}" for i in range(runs)]
    return particle_search(questions, TwoSteps(), soft_values(ETA), SearchSettings(), ETA, particles)


@pytest.fixture(scope="module", params=[(600, 4), (150, 64)], ids=["4", "64"])
def found(request: pytest.FixtureRequest) -> list[Particles]:
    return particles_of(*request.param)


def test_weighted_particles_follow_the_optimal_policy(found: list[Particles]) -> None:
    """Chi-square of Z-weighted frequencies, which are unbiased at any N, against pi* Z."""
    names = list(WEIGHT)
    seen = np.array([[math.exp(run.log_z) * sum(weight for path, weight in zip(run.paths, run.weights, strict=True)
                                                if path.steps == name) for name in names] for run in found])
    gap = seen.mean(axis=0) - np.array([WEIGHT[name] for name in names])
    statistic = float(gap @ np.linalg.solve(np.cov(seen.T) / len(found), gap))
    assert scipy.stats.chi2.sf(statistic, len(names)) > 1e-3


def test_z_is_estimated_without_bias(found: list[Particles]) -> None:
    z = np.exp([run.log_z for run in found])
    assert abs(z.mean() - Z) < 4 * z.std(ddof=1) / math.sqrt(len(z))
    assert all(run.weights.sum() == pytest.approx(1.0) for run in found)


def test_draws_of_many_particles_are_draws_of_the_optimal_policy() -> None:
    rng = np.random.default_rng(0)
    runs = particles_of(300, 64)
    drawn = [run.paths[rng.choice(64, p=run.weights)].steps for run in runs]
    counts = [drawn.count(name) for name in WEIGHT]
    assert scipy.stats.chisquare(counts, [len(drawn) * weight / Z for weight in WEIGHT.values()]).pvalue > 1e-3


def test_a_search_repeats_and_does_not_depend_on_other_questions() -> None:
    together = particle_search(["q", "r"], TwoSteps(), soft_values(ETA), SearchSettings(seed=3), ETA, 8)
    [alone] = particle_search(["r"], TwoSteps(), soft_values(ETA), SearchSettings(seed=3), ETA, 8)
    assert alone.paths == together[1].paths
    assert alone.log_z == together[1].log_z


def test_systematic_resampling_gives_each_its_share() -> None:
    weights = np.array([0.5, 0.3, 0.15, 0.05])
    for uniform in np.linspace(0, 0.999, 21):
        counts = np.bincount(systematic(weights, float(uniform)), minlength=4)
        assert np.all(np.abs(counts - 4 * weights) < 1)


def test_a_particle_whose_step_cannot_be_read_is_lost() -> None:
    values, reasons = soft_values(ETA), []

    def score(texts: Sequence[tuple[str, Sequence[str]]]) -> list[np.ndarray]:
        if any(steps[0] == "a" for _, steps in texts):
            raise InputError("no a")
        return values(texts)

    [run] = particle_search(["q"], TwoSteps(), score, SearchSettings(), ETA, 64,
                            refused=lambda branch, error: reasons.append(error))
    assert reasons
    assert not any(weight for path, weight in zip(run.paths, run.weights, strict=True) if path.steps[:1] != ("b",)
                   and path.steps[:1] != ("c",))


@pytest.mark.parametrize(("arguments", "words"), [
    ((math.nan,), "eta"), ((1.0, 0), "particles: expected at least 1, found 0"), ((1.0, 2, "rate"), "scores_are"),
])
def test_bad_arguments_of_a_particle_search_are_named(arguments: tuple, words: str) -> None:
    with pytest.raises(InputError, match=words):
        particle_search(["q"], TwoSteps(), soft_values(0.0), SearchSettings(), *arguments)
