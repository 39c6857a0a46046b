"""The embedded engine against transformers' own generation, and a sample's independence of its batch."""

from pathlib import Path

import pytest
import tiny
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, MistralConfig, MistralForCausalLM

from erprm.engines import Request, Sampling, batch, load_engine
from erprm.engines.draw import draw, uniform
from erprm.engines.stopping import Detokenizer
from erprm.engines.transformers import TransformersEngine
from erprm.errors import InputError

REQUESTS = [Request("2+3*4?", "3*4=12\n", 3, 11), Request("a much longer question than the first", "", 2, 500),
            Request("7?", "", 4, 90), Request("7?", "x\ny\n", 1, 7), Request("50-8*2?", "8*2=16\n50-16=", 5, 1000)]


@pytest.fixture(scope="module")
def engine(model_dir: Path) -> TransformersEngine:
    return TransformersEngine(str(model_dir), device="cpu")


def greedy_by_generate(folder: Path, requests: list[Request], tokens: int) -> list[str]:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), tiny.tokenizer()
    texts = []
    for request in requests:
        ids = torch.tensor([tokenizer(f"{request.question}\n{request.prefix}")["input_ids"]])
        out = model.generate(ids, do_sample=False, max_new_tokens=tokens)
        texts.append(tokenizer.decode(out[0, ids.shape[1]:], skip_special_tokens=True))
    return texts


@pytest.fixture(autouse=True)
def _little_headroom(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache is moved every few steps, so that short completions cover it."""
    monkeypatch.setattr(batch, "_HEADROOM", 7)


def check_greedy(folder: Path, **options: int) -> None:
    engine = TransformersEngine(str(folder), device="cpu", **options)
    samples = engine.sample(REQUESTS, Sampling(temperature=0, max_tokens=24))
    for request, drawn, expected in zip(REQUESTS, samples, greedy_by_generate(folder, REQUESTS, 24), strict=True):
        assert [sample.text for sample in drawn] == [expected] * request.n


@pytest.mark.parametrize("rows", [1, 4, 64])  # refilled all the time, now and then, never
def test_greedy_equals_generate(model_dir: Path, rows: int) -> None:
    check_greedy(model_dir, batch_rows=rows, prefill_tokens=30)


def small(**more: object) -> dict[str, object]:
    return {"vocab_size": len(tiny.tokenizer()), "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, **more}


@pytest.mark.parametrize("model", [
    lambda: GPT2LMHeadModel(GPT2Config(**small(n_embd=32, n_layer=2, n_head=2, initializer_range=0.3))),
    lambda: MistralForCausalLM(MistralConfig(**small(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        sliding_window=12, initializer_range=0.3))),
], ids=["gpt2: learned positions", "mistral: grouped heads, sliding window"])
def test_other_stock_models_equal_generate(tmp_path: Path, model: object) -> None:
    torch.manual_seed(0)
    model().eval().save_pretrained(tmp_path)  # type: ignore[operator]
    tiny.tokenizer().save_pretrained(tmp_path)
    check_greedy(tmp_path, batch_rows=4)


@pytest.mark.parametrize("sampling", [Sampling(max_tokens=20), Sampling(max_tokens=20, temperature=0.7, top_p=0.8)],
                         ids=["plain", "top_p"])
def test_a_sample_depends_on_its_seed_and_prefix_only(engine: TransformersEngine, model_dir: Path,
                                                       sampling: Sampling) -> None:
    together = engine.sample(REQUESTS, sampling)
    alone = TransformersEngine(str(model_dir), device="cpu", batch_rows=1)
    for request, expected in list(zip(REQUESTS, together, strict=True))[:3]:
        single = [alone.sample([Request(request.question, request.prefix, 1, request.seed + i)], sampling)[0][0]
                  for i in range(request.n)]
        assert single == expected


def test_seeds_give_different_samples(engine: TransformersEngine) -> None:
    [samples] = engine.sample([Request("2+3?", "", 16, 0)], Sampling(max_tokens=20))
    assert len({sample.text for sample in samples}) == 16


def test_a_stop_string_ends_a_completion_and_is_left_out(engine: TransformersEngine) -> None:
    [free] = engine.sample([Request("2+3?", "", 1, 5)], Sampling(max_tokens=40))
    stop = free[0].text[10:12]
    [[cut]] = engine.sample([Request("2+3?", "", 1, 5)], Sampling(max_tokens=40, stop=("never found", stop)))
    assert cut.text == free[0].text[:free[0].text.index(stop)]
    assert cut.finish_reason == "stop"
    assert cut.tokens < free[0].tokens


def test_stop_strings_are_looked_up_in_the_vocabulary_once(engine: TransformersEngine,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[object] = []
    text = Detokenizer.text
    monkeypatch.setattr(Detokenizer, "text", lambda self, ids: decoded.append(ids) or text(self, ids))
    sampling, request = Sampling(max_tokens=2, stop=("a stop", "another")), Request("2+3?", "", 1, 5)
    vocabulary = len(tiny.tokenizer())
    first = engine.sample([request], sampling)
    assert len(decoded) >= vocabulary
    decoded.clear()
    assert engine.sample([request], sampling) == first
    assert len(decoded) < 10


def test_max_tokens_and_the_context_cut_off(engine: TransformersEngine) -> None:
    long = "x" * 1010 + "\n"  # 1,015 of the model's 1,024 positions with the question
    for prefix, most in (("", 7), (long, 10), (long * 2, 0)):
        [[sample]] = engine.sample([Request("2+3?", prefix, 1, 3)], Sampling(max_tokens=most or 7, temperature=0))
        assert sample.finish_reason == "length"
        assert sample.tokens == min(most, 1024 - 5 - len(prefix)) if most else sample.tokens == 0


def test_end_of_sequence_ends_and_is_counted(tmp_path: Path) -> None:
    model = tiny.llama()
    end = tiny.tokenizer().eos_token_id
    with torch.no_grad():
        model.lm_head.weight[end] *= 4
    model.save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    [samples] = TransformersEngine(str(tmp_path), device="cpu").sample([Request("2+3?", "", 64, 0)],
                                                                      Sampling(max_tokens=60))
    stopped = [sample for sample in samples if sample.finish_reason == "stop"]
    assert stopped
    assert all("</s>" not in sample.text and sample.tokens <= 60 for sample in stopped)
    assert all(sample.tokens == 60 for sample in samples if sample.finish_reason == "length")


def test_draws_follow_the_distribution() -> None:
    logits = torch.tensor([2.0, 0.0, -1.0, 1.0, -30.0])
    rows = 200_000
    tokens = draw(logits.expand(rows, 5), torch.arange(rows), torch.zeros(rows, dtype=torch.int64), 0.8, 1.0)
    expected = torch.softmax(logits / 0.8, -1)
    share = torch.bincount(tokens, minlength=5) / rows
    error = (expected * (1 - expected) / rows).sqrt()
    assert torch.all((share - expected).abs() <= 5 * error + 1e-9)
    nucleus = draw(logits.expand(rows, 5), torch.arange(rows), torch.zeros(rows, dtype=torch.int64), 0.8, 0.7)
    assert set(nucleus.tolist()) == {0}  # 0.73 of the probability


def test_uniform_numbers_are_spread_over_seeds_and_steps() -> None:
    seeds, steps = torch.meshgrid(torch.arange(500), torch.arange(400), indexing="ij")
    numbers = uniform(seeds.flatten(), steps.flatten())
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts = torch.histc(numbers.float(), bins=100, min=0, max=1)
    chi_square = ((counts - 2000) ** 2 / 2000).sum()
    assert 60 < chi_square < 150  # 99 degrees of freedom
    grid = numbers.reshape(500, 400) - 0.5
    assert abs((grid[1:] * grid[:-1]).mean() * 12) < 0.012  # neighbouring seeds
    assert abs((grid[:, 1:] * grid[:, :-1]).mean() * 12) < 0.012  # neighbouring steps


def test_the_fingerprint_follows_the_weights_not_the_place(model_dir: Path, tmp_path: Path,
                                                           engine: TransformersEngine) -> None:
    (tmp_path / "a").mkdir()
    copy = tmp_path / "a" / model_dir.name
    tiny.save(copy)
    assert TransformersEngine(str(copy), device="cpu").fingerprint() == engine.fingerprint()
    tiny.save(copy, seed=1)
    assert TransformersEngine(str(copy), device="cpu").fingerprint() != engine.fingerprint()


def test_what_cannot_work_is_refused(engine: TransformersEngine, model_dir: Path) -> None:
    with pytest.raises(InputError, match="expected one of transformers"):
        load_engine("transformer", "x")
    with pytest.raises(InputError, match="no-such-folder"):
        load_engine("transformers", "no-such-folder/model")
    with pytest.raises(InputError, match="dtype"):
        TransformersEngine(str(model_dir), dtype="int3")
    with pytest.raises(InputError, match="n: expected at least 1"):
        engine.sample([Request("2+3?", "", 0, 0)], Sampling())
    closed = TransformersEngine(str(model_dir), device="cpu")
    closed.close()
    with pytest.raises(InputError, match="closed"):
        closed.sample(REQUESTS, Sampling())
