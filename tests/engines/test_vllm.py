"""The vLLM engine on the real vLLM (its CPU build where there is no GPU), against transformers."""

import shutil
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoTokenizer

from erprm.cli import main
from erprm.engines import PromptTemplate, Request, Sampling, check_options, load_engine
from erprm.engines.vllm import VllmEngine
from erprm.engines.vllm_process import longest_on_cpu, on_cpu
from erprm.errors import InputError
from erprm.problems import Problem, write_problems

pytestmark = [pytest.mark.vllm, pytest.mark.xdist_group("vllm")]

REQUESTS = [Request(f"{index}+3*4?", "3*4=12\n" * (index % 3), n=4, seed=100 * index) for index in range(8)]
CHAT = ("{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}")


def greedy(ids: list[int], tokens: int) -> tuple[list[int], list[float]]:
    """Greedy continuation of `ids` and its log-probabilities, in transformers."""
    model, written, logprobs = tiny.llama(), [], []
    with torch.no_grad():
        for _ in range(tokens):
            values = model(torch.tensor([ids + written])).logits[0, -1].log_softmax(-1)
            written.append(int(values.argmax()))
            logprobs.append(float(values[written[-1]]))
    return written, logprobs


def test_greedy_tokens_and_log_probabilities_are_those_of_transformers(vllm_engine: VllmEngine) -> None:
    from vllm import SamplingParams

    template, tokenizer = PromptTemplate(), tiny.tokenizer()
    prompts = [template.ids(tokenizer, request.question, request.prefix) for request in REQUESTS]
    parameters = SamplingParams(temperature=0, max_tokens=24, logprobs=0, ignore_eos=True)
    outputs = vllm_engine.llm.generate([{"prompt_token_ids": ids} for ids in prompts], parameters, use_tqdm=False)
    for ids, output in zip(prompts, outputs, strict=True):
        tokens, logprobs = greedy(ids, 24)
        sample = output.outputs[0]
        assert list(sample.token_ids) == tokens
        found = [entry[token].logprob for entry, token in zip(sample.logprobs, tokens, strict=True)]
        assert torch.tensor(found) == pytest.approx(torch.tensor(logprobs), abs=5e-6)


def test_a_sample_depends_on_its_own_seed_not_on_the_batch(vllm_engine: VllmEngine) -> None:
    sampling = Sampling(max_tokens=32)
    together = vllm_engine.sample(REQUESTS, sampling)
    assert together == vllm_engine.sample(REQUESTS[::-1], sampling)[::-1]
    singles = [Request(request.question, request.prefix, 1, request.seed + sample)
               for request in REQUESTS for sample in range(request.n)]
    assert vllm_engine.sample(singles, sampling) == [[sample] for row in together for sample in row]
    alone = vllm_engine.sample([singles[-1]], sampling)
    assert alone == [[together[-1][-1]]]
    assert len({sample.text for row in together for sample in row}) == len(singles)


def test_stop_strings_end_a_completion_and_a_cut_one_says_so(vllm_engine: VllmEngine) -> None:
    free = list(chain.from_iterable(vllm_engine.sample(REQUESTS, Sampling(max_tokens=32))))
    letters = Counter(char for sample in free for char in set(sample.text) if char.isascii() and char.isprintable())
    stop = letters.most_common(1)[0][0]
    stopped = list(chain.from_iterable(vllm_engine.sample(REQUESTS, Sampling(max_tokens=32, stop=(stop,)))))
    for before, after in zip(free, stopped, strict=True):
        assert after.text == before.text.split(stop)[0]
        assert after.finish_reason == ("stop" if stop in before.text else before.finish_reason)
        assert after.stopped_at == (stop if stop in before.text else None)
    assert {sample.finish_reason for sample in stopped} == {"stop", "length"}
    assert all(sample.tokens == 32 for sample in stopped if sample.finish_reason == "length")


def test_a_prompt_without_room_gets_empty_cut_completions(vllm_engine: VllmEngine) -> None:
    rows = vllm_engine.sample([Request("x" * 600, "", 2, 0), Request("1", "", 1, 0)], Sampling(max_tokens=4))
    assert [(sample.text, sample.finish_reason, sample.tokens) for sample in rows[0]] == [("", "length", 0)] * 2
    assert len(rows[1]) == 1


def test_greedy_samples_of_a_request_are_equal(vllm_engine: VllmEngine) -> None:
    [row] = vllm_engine.sample([Request("1+1?", "", 3, 9)], Sampling(temperature=0, max_tokens=8))
    assert len(row) == 3
    assert len(set(row)) == 1


def test_bad_input_is_one_line(vllm_engine: VllmEngine, model_dir: Path) -> None:
    with pytest.raises(InputError, match="n: expected at least 1, found 0"):
        vllm_engine.sample([Request("1", "", 0, 0)], Sampling())
    with pytest.raises(InputError, match="nonsense"):
        load_engine("vllm", str(model_dir), nonsense=3)
    with pytest.raises(InputError, match="ray:vllm"):
        load_engine("vllm", str(model_dir), data_parallel_size=2)
    with pytest.raises(InputError, match="no/such/model"):
        load_engine("vllm", "/no/such/model")


@pytest.mark.parametrize(("option", "words"), [
    ("max_model_len=abc", "expected a whole number of at least 1, found 'abc'"),
    ("max_model_len=0", "expected a whole number of at least 1, found 0"),
    ("tensor_parallel_size=0", "at least 1, found 0"), ("threads=-1", "at least 1, found -1"),
    ("gpu_memory_utilization=7", "expected less than or equal to 1, found 7"),
    ("gpu_memory_utilization=x", "expected a valid number, unable to parse string as a number, found 'x'"),
    ("max_num_batched_tokens=-1", "expected greater than or equal to 1, found -1"), ("enforce_eager=5", "found 5"),
    ("kv_cache_dtype=x", "found 'x'"), ("load_format=[1]", "found [1]"), ("seed=x", "found 'x'"),
    ("hf_overrides=5", "found 5"), ("kv_cache_memory_bytes=many", "found 'many'")])
def test_values_that_vllm_refuses_are_said_before_the_model_is_read(
        option: str, words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_problems(tmp_path / "problems.jsonl", [Problem(id="p0", question="1+1?", answer="2")])
    for engine in ("vllm", "ray:vllm"):
        assert main(["sample", "--problems", str(tmp_path / "problems.jsonl"), "--policy", "/no/such/model", "--engine",
                     engine, "--engine-options", option, "--out", str(tmp_path / "out.jsonl")]) == 2
        [line] = [line for line in capfd.readouterr().err.splitlines() if line.startswith("erprm")]
        assert f"engine_options: {option.partition('=')[0]}: expected " in line
        assert words in line


def test_values_that_vllm_takes_are_let_through() -> None:
    check_options("vllm", {"gpu_memory_utilization": 0.5, "enforce_eager": True, "quantization": None, "seed": 3,
                           "max_model_len": 512, "kv_cache_dtype": "auto", "compilation_config": {"level": 0},
                           "hf_overrides": {"a": 1}, "speculative_config": {"method": "ngram"}, "block_size": 32,
                           "load_format": "auto", "cpu_offload_gb": 0, "enable_prefix_caching": False,
                           "distributed_executor_backend": "external_launcher"})


def test_as_many_positions_as_the_cache_of_a_cpu_holds(model_dir: Path) -> None:
    config = AutoConfig.from_pretrained(model_dir)
    each = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * 4  # bytes of keys and values
    assert longest_on_cpu(config, "float32") == config.max_position_embeddings
    assert longest_on_cpu(config, "float32", cache=100 * each) == 64  # whole blocks, without one
    assert longest_on_cpu(config, "bfloat16", cache=100 * each) == 160
    assert longest_on_cpu(config, "float32", cache=1) == 32


def test_chat_continues_the_assistant_turn_and_a_second_engine_leaves_the_first_alone(
        vllm_engine: VllmEngine, model_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = Path(shutil.copytree(model_dir, tmp_path / "chat"))
    config = AutoConfig.from_pretrained(folder)
    config.max_position_embeddings = 131_072  # more than a cache of 4 MiB holds
    config.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(folder)
    before = vllm_engine.sample(REQUESTS[:2], Sampling(max_tokens=16))
    torch.manual_seed(5)
    expected_draw = torch.rand(3)
    torch.manual_seed(5)
    chat = VllmEngine(str(folder), template=PromptTemplate(kind="chat"), kv_cache_memory_bytes=1 << 22)
    if on_cpu():
        assert chat.llm.llm_engine.model_config.max_model_len == 4064
        assert "holds 4,064 of the model's 131,072 positions: max_model_len is set to that" in capfd.readouterr().err
    assert chat.fingerprint()["dtype"] == "float32"  # vLLM's own "auto" would have halved it
    assert torch.equal(torch.rand(3), expected_draw)  # loading leaves the process's own random numbers alone
    [[sample]] = chat.sample([Request("2+3?", "so", 1, 0)], Sampling(temperature=0, max_tokens=12))
    ids = tokenizer("<user>2+3?\n<assistant>so", add_special_tokens=False).input_ids
    tokens, _ = greedy(ids, 12)
    ends = [place for place, token in enumerate(tokens) if token == tokenizer.eos_token_id]
    written = tokens[: ends[0]] if ends else tokens
    assert sample.text == tokenizer.decode(written, skip_special_tokens=True)
    chat.close()
    assert vllm_engine.sample(REQUESTS[:2], Sampling(max_tokens=16)) == before
    with pytest.raises(InputError, match="closed"):
        chat.sample(REQUESTS[:1], Sampling())


def test_weights_that_are_no_numbers_are_said_before_anything_is_sampled(
        model_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    broken = shutil.copytree(model_dir, tmp_path / "broken")
    held = load_file(broken / "model.safetensors")
    held["model.norm.weight"].fill_(float("nan"))
    save_file(held, broken / "model.safetensors", metadata={"format": "pt"})
    write_problems(tmp_path / "problems.jsonl", [Problem(id="p0", question="1+1?", answer="2")])
    words = ["sample", "--engine", "vllm", "--policy", str(broken), "--problems", str(tmp_path / "problems.jsonl"),
             "--max-tokens", "4", "--workers", "1", "--out", str(tmp_path / "out.jsonl")]
    assert main(words) == 2
    [said] = [line for line in capfd.readouterr().err.splitlines() if line.startswith("erprm")]
    assert "NaN or infinite numbers" in said
    assert not list(tmp_path.glob("out.jsonl*"))
    assert main([*words, "--engine-options", "max_model_length=64"]) == 2
    assert "has no option 'max_model_length'; it has max_model_len" in capfd.readouterr().err
