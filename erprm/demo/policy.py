"""The demo's untrained policy: a small stock Llama and a tokenizer whose words are numbers and signs."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from pathlib import Path

from erprm.files.writing import written_folder
from erprm.problems import Problem
from erprm.problems.tasks import ANSWER, Task
from erprm.rows import StepRow
from erprm.steps import StepTags


def write_untrained(folder: Path, task: Task, seed: int, hidden: int, layers: int) -> int:
    """Save a `LlamaForCausalLM` with random weights and its tokenizer in `folder`; returns its number of parameters.

    Heads have size 32, the least that vLLM takes. Numbers up to 99 are one token each, and so are the step tag and the
    two label tokens of a process reward model.
    """
    import torch
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tags = StepTags()
    words = [*task.words, tags.tag, tags.plus, tags.minus]
    vocabulary = ["<pad>", "<s>", "</s>", "<unk>", *words, *"\n ,>=+-*/(){}\":", *map(str, range(100))]
    core = Tokenizer(models.WordLevel({word: index for index, word in enumerate(vocabulary)}, unk_token="<unk>"))
    pattern = "|".join(map(re.escape, words)) + r"|[1-9]\d|\d|[\s\S]"
    core.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    core.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", bos_token="<s>", eos_token="</s>",
                                        unk_token="<unk>", clean_up_tokenization_spaces=False)
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=hidden, intermediate_size=3 * hidden, num_hidden_layers=layers,
        num_attention_heads=hidden // 32, num_key_value_heads=hidden // 32, max_position_embeddings=256,
        tie_word_embeddings=False, pad_token_id=0, bos_token_id=1, eos_token_id=2))
    with written_folder(folder, last="config.json") as written:
        model.save_pretrained(written)
        tokenizer.save_pretrained(written)
    return int(model.num_parameters())


def demonstrations(task: Task, problems: Iterable[Problem], per_problem: int, wandering: float, seed: int,
                   ) -> Iterable[StepRow]:
    """`per_problem` demonstrations of each problem; `wandering` is the probability of a random step."""
    rng = random.Random(seed)
    for problem in problems:
        for number in range(per_problem):
            steps = task.demonstrate(problem.metadata, rng, wandering)
            if steps is not None:
                yield StepRow(prompt=problem.question, steps=tuple(steps), problem_id=problem.id,
                              solution_id=f"{problem.id}/{number}", answer=steps[-1].removeprefix(ANSWER))
