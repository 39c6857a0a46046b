"""Process rewards for reinforcement learning: who is paid, where, and that shaping changes no optimal policy."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

from erprm.errors import InputError
from erprm.policy import credit
from erprm.policy.crediting import CREDITS, MODES, RewardOptions, step_rewards
from erprm.policy.reward import PRMReward, step_tokens
from erprm.policy.stacks import skyrl_rewards, verl_score, verl_token_rewards
from erprm.prm.model import PRM
from erprm.prm.scoring.scorer import PRMScorer
from erprm.prm.spec import PRMSpec
from erprm.steps import SPLITTERS, split_steps

SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


class Counting:
    """A scorer that notes its batches and refuses what a real one refuses."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def score(self, texts: Sequence[tuple[str, Sequence[str]]]) -> list[np.ndarray]:
        if any(tiny.TAG in step for _, steps in texts for step in steps):
            raise InputError("a step holds the tag")
        self.batches.append(len(texts))
        return [np.array([(len(question) + 3 * len(step)) % 10 / 10 for step in steps]) for question, steps in texts]


@pytest.fixture(scope="module")
def scorer(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> PRMScorer:
    folder = tmp_path_factory.mktemp("prm")
    PRM.from_base(str(model_dir), tiny.tokenizer(), PRMSpec()).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return PRMScorer(str(folder))


@given(SCORES, st.floats(-1, 1))
def test_shaped_rewards_and_the_initial_value_sum_to_the_last(scores: list[float], initial: float) -> None:
    assert credit(scores, "shaping", initial=initial).sum() + initial == pytest.approx(scores[-1], abs=1e-9)


@pytest.mark.parametrize("splitter", SPLITTERS)
def test_shaping_telescopes_whatever_splits(splitter: str, scorer: PRMScorer) -> None:
    text = "Step 1: 3*4=12\n\nStep 2: 2+12=14\nso\n\nThe answer is 14"
    steps = split_steps(text, splitter)
    [scores] = scorer.score([("2+3*4?", steps)])
    [total] = PRMReward(scorer, mode="shaping", initial=0.25, splitter=splitter)(["2+3*4?"], [text])
    assert total + 0.25 == pytest.approx(float(scores[-1]), abs=1e-6)


@given(SCORES, st.floats(0.01, 2))
def test_softmin_is_the_weighted_mean_of_pure(scores: list[float], temperature: float) -> None:
    weights = np.exp(-np.array(scores) / temperature) / np.exp(-np.array(scores) / temperature).sum()
    np.testing.assert_allclose(credit(scores, "softmin", temperature=temperature), weights * scores, atol=1e-12)


def test_softmin_pays_only_the_weakest_step_as_it_cools() -> None:
    np.testing.assert_allclose(credit([0.9, 0.2, 0.4], "softmin", temperature=1e-6), [0, 0.2, 0], atol=1e-12)
    assert credit([0.9, 0.2, 0.4], "softmin", temperature=1e9).sum() == pytest.approx(0.5)


def test_shaping_keeps_the_optimal_policy_and_plain_sums_change_it() -> None:
    """A chain in which a path may go on with idle steps of high score, or answer; only the answer is worth something.

    All policies of the little decision process are enumerated: a policy is a path, of 1 to 6 steps.
    """
    terminal = {"answer": 1.0, "wrong": 0.0}
    paths = [(*("idle",) * length, end) for length in range(6) for end in terminal]

    def values(path: Sequence[str]) -> np.ndarray:
        return np.array([terminal.get(step, 0.8) for step in path])

    def best(reward) -> set[tuple[str, ...]]:
        totals = {path: reward(path) for path in paths}
        top = max(totals.values())
        return {path for path, total in totals.items() if total > top - 1e-9}

    optimal = best(lambda path: terminal[path[-1]])
    assert optimal == {path for path in paths if path[-1] == "answer"}
    assert best(lambda path: credit(values(path), "shaping", initial=0.8).sum()) == optimal
    assert best(lambda path: terminal[path[-1]] + credit(values(path), "shaping", initial=0.8).sum()) == optimal
    assert best(lambda path: credit(values(path), "steps").sum()) == {(*("idle",) * 5, "answer")}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_pays_a_finite_reward_per_step(mode: str) -> None:
    rewards = step_rewards([0.9, 0.2, 0.4], RewardOptions(mode=mode))
    assert rewards.shape == (3,)
    assert np.isfinite(rewards).all()
    if mode not in CREDITS:
        assert rewards[:2].tolist() == [0, 0]


@pytest.mark.parametrize(("make", "words"), [
    (lambda: credit([], "steps"), "scores: expected the scores of at least one step"),
    (lambda: credit([np.nan], "steps"), "scores: expected finite"),
    (lambda: credit([0.5], "sum"), "mode: expected one of steps, softmin, shaping, found 'sum'"),
    (lambda: credit([0.5], "softmin", temperature=0), "temperature: expected a positive number, found 0"),
    (lambda: PRMReward(Counting(), mode="sum"), "mode: expected one of"),
    (lambda: PRMReward(Counting(), colour=1), "colour"),
    (lambda: PRMReward(Counting(), outcome_weight=0.5), "outcome: expected it together with outcome_weight"),
    (lambda: PRMReward(Counting(), outcome_weight=2, outcome=len), "outcome_weight: expected at most 1"),
    (lambda: PRMReward(Counting()).token_rewards(["q"], ["a"], [[1]]), "tokenizer"),
    (lambda: PRMReward(Counting())([3], ["a"]), "expected a text or a list of chat turns, found int"),
])
def test_bad_arguments_are_named(make, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()


def test_a_whole_group_is_one_batch_and_what_cannot_be_read_is_worth_nothing(scorer: PRMScorer) -> None:
    counting = Counting()
    reward = PRMReward(counting)
    assert len(reward(["q"] * 8, ["a\nb"] * 8)) == 8
    assert counting.batches == [8]
    rewards = PRMReward(scorer)
    got = rewards(["q"] * 4, ["3*4=12", f"a{tiny.TAG} b", "x" * 5000, " \n"])
    assert got[0] == pytest.approx(float(scorer.score([("q", ["3*4=12"])])[0][0]))
    assert got[1:] == [0, 0, 0]
    assert (rewards.report.scored, rewards.report.empty, rewards.report.refused) == (1, 1, 2)
    assert "1 completions scored; worth 0: 1 without a step, 2 that the model cannot read" in str(rewards.report)
    asked = f"a{tiny.TAG} b?"  # the question's tag is not the policy's doing
    assert rewards([asked], ["3*4=12"]) == pytest.approx([float(scorer.score([(asked, ["3*4=12"])])[0][0])])


@pytest.mark.parametrize("mode", ["min", "shaping", "softmin", "steps"])
def test_tokens_carry_their_steps_reward(mode: str, scorer: PRMScorer) -> None:
    """The reward lies at the token of the step's last character, whichever tokens the policy wrote."""
    tokenizer = tiny.tokenizer()
    text = "3*4=12 ≠ 13\n\n2+12=14 \nThe answer is 14"
    reward = PRMReward(scorer, mode=mode, tokenizer=tokenizer)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    [tokens] = reward.token_rewards(["2+3*4?"], [text], [ids])
    assert sum(tokens) == pytest.approx(reward(["2+3*4?"], [text])[0])
    ends = [text.index("13") + 2, text.index("14") + 2, len(text)]
    places = [len(tokenizer(text[:end], add_special_tokens=False)["input_ids"]) - 1 for end in ends]
    assert {place for place, value in enumerate(tokens) if value} == set(places if mode != "min" else places[-1:])


def test_tokens_that_the_tokenizer_would_not_write_are_decoded(data: Path) -> None:
    """A policy may spell a word in other tokens; the step still ends where its last character was written."""
    tokenizer = real_tokenizer(data)
    text = "3*4=12\n\n2+12=14"
    ids = [token for char in text for token in tokenizer(char, add_special_tokens=False)["input_ids"]]
    assert ids != tokenizer(text, add_special_tokens=False)["input_ids"]
    places = step_tokens(tokenizer, text, ids, [6, len(text)])
    assert [tokenizer.decode(ids[: place + 1]) for place in places] == ["3*4=12", text]


def real_tokenizer(data: Path):
    import tarfile
    import tempfile

    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as folder, tarfile.open(data / "tokenizers.tar.xz") as archive:
        archive.extractall(folder, filter="data")
        path = next(place.parent for place in sorted(Path(folder).rglob("tokenizer.json")) if "wen" in str(place))
        return AutoTokenizer.from_pretrained(path)


def right(prompts, completions, **columns) -> list[float]:
    return [float(text.endswith(answer)) for text, answer in zip(completions, columns["answer"], strict=True)]


def test_outcome_is_mixed_in_at_the_end_and_penalties_are_taken_where_they_are_due() -> None:
    texts = ["a\na\nb", "c\nd\n2"]
    columns = {"answer": ["1", "2"]}
    plain = PRMReward(Counting(), mode="steps").rewarded(["q", "q"], texts, **columns)
    mixed = PRMReward(Counting(), mode="steps", outcome=right, outcome_weight=0.25, repeat_penalty=0.5,
                      step_penalty=0.01).rewarded(["q", "q"], texts, **columns)
    np.testing.assert_allclose(mixed[0].rewards, 0.75 * plain[0].rewards - 0.01 - np.array([0, 0.5, 0]))
    np.testing.assert_allclose(mixed[1].rewards, 0.75 * plain[1].rewards - 0.01 + np.array([0, 0, 0.25]))


@pytest.mark.parametrize("mode", ["min", "shaping", "softmin"])
def test_outcome_and_process_are_standardised_apart(mode: str) -> None:
    """Whatever the scale of either, each has mean 0 and deviation 1 in its group before they are mixed."""
    texts = [f"{'x' * i}\n{'y' * j}" for i, j in ((1, 1), (2, 2), (3, 1), (1, 2), (2, 2), (3, 3))]
    prompts = ["p"] * 3 + ["qqq"] * 3
    columns = {"answer": ["y", "yy", "yy", "yy", "y", "zz"]}
    process = np.array(PRMReward(Counting(), mode=mode)(prompts, texts))
    outcome = np.array(right(prompts, texts, **columns))
    got = np.array(PRMReward(Counting(), mode=mode, outcome=right, outcome_weight=0.5, normalise=True)(
        prompts, texts, **columns))
    for group in (slice(0, 3), slice(3, 6)):
        parts = [(part[group] - part[group].mean()) / (part[group].std()) for part in (process, outcome)]
        np.testing.assert_allclose(got[group], 0.5 * parts[0] + 0.5 * parts[1], atol=1e-9)


def test_verl_calls_it_one_at_a_time_or_in_batches() -> None:
    score = verl_score(PRMReward(Counting(), mode="min"))
    one = score(data_source="gsm8k", solution_str="a\nbcd", ground_truth="1", extra_info={"question": "q", "index": 0},
                reward_router_address=None)
    assert one == {"score": pytest.approx(0.0), "step_scores": "[0.4, 0.0]"}
    assert score(data_sources=["gsm8k"] * 2, solution_strs=["a\nbcd", ""], ground_truths=["1", "1"],
                 extra_infos=[{"question": "q"}] * 2) == [one, {"score": 0.0, "step_scores": "[]"}]
    with pytest.raises(InputError, match="extra_info: expected the question of every solution"):
        score(data_source="gsm8k", solution_str="a", ground_truth="1", extra_info={})
    normalised = verl_score(PRMReward(Counting(), outcome=right, outcome_weight=0.5, normalise=True))
    with pytest.raises(InputError, match="normalise: expected the completions of a group together, found one alone"):
        normalised(data_source="gsm8k", solution_str="a", ground_truth="1", extra_info={"question": "q"})


def test_verl_may_call_from_many_threads(scorer: PRMScorer) -> None:
    """Its reward loop hands each completion to a pool of threads; every score is the scorer's, and all are counted."""
    reward = PRMReward(scorer, mode="min")
    score = verl_score(reward)
    texts = [f"{number}+1\n{number}*2" for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda text: score(solution_str=text, extra_info={"question": "q"}), texts))
    for item, scores in zip(found, scorer.score([("q", text.split("\n")) for text in texts]), strict=True):
        assert item["score"] == pytest.approx(float(scores.min()), abs=1e-6)
    assert reward.report.scored == len(texts)


def test_per_token_rewards_for_verl_and_skyrl() -> None:
    tokenizer = tiny.tokenizer()
    reward = PRMReward(Counting(), mode="steps", tokenizer=tokenizer)
    ids = [[*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id] for text in
           ("a\nbc", "abcd")]
    rows = skyrl_rewards(reward, ["q", "q"], ids)
    np.testing.assert_allclose(rows[0], [0.4, 0, 0, 0.7, 0])
    np.testing.assert_allclose(rows[1], [0, 0, 0, 0.3, 0])
    padded = np.array([row + [tokenizer.pad_token_id] * 2 for row in ids])
    tensor = verl_token_rewards(reward, ["q", "q"], padded, padded != tokenizer.pad_token_id)
    np.testing.assert_allclose(tensor, [[0.4, 0, 0, 0.7, 0, 0, 0], [0, 0, 0, 0.3, 0, 0, 0]], atol=1e-7)


def test_trl_trains_on_it(model_dir: Path, scorer: PRMScorer, tmp_path: Path) -> None:
    """TRL's own GRPOTrainer calls the reward in its way, with columns and logging functions."""
    import datasets
    import trl

    reward = PRMReward(scorer, mode="softmin", outcome=right, outcome_weight=0.5)
    trainer = trl.GRPOTrainer(
        model=str(model_dir), reward_funcs=reward, processing_class=tiny.tokenizer(),
        train_dataset=datasets.Dataset.from_list([{"prompt": "1+1?\n", "answer": "2"}] * 4),
        args=trl.GRPOConfig(output_dir=str(tmp_path), max_steps=1, per_device_train_batch_size=4, num_generations=4,
                            max_completion_length=8, report_to="none", save_strategy="no", use_cpu=True))
    trainer.train()
    assert reward.report.scored + reward.report.empty + reward.report.refused == 4
    assert "rewards/erprm/mean" in trainer.state.log_history[0]
