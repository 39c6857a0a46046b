"""The stages of bench/real.py as one writes them with transformers alone: `generate`, `Trainer`, padded batches.

    python bench/real_plain.py label runs/real/gemma3 --n 4      # after bench/real.py; one stage a process

Each works on what `erprm` worked on: the same problems and prompts, a completion for each of its prefixes that no
solution has yet, the same labelled rows, the same held-out solutions. "train" and "score" are the form of TRL's former
PRMTrainer: a token classifier with two classes, read at the last token of each step. Where transformers has no such
form of a model (Gemma 3), it is the paper's: the causal model, which learns to go on with "+" or "-" behind each step.
Batches are as large as the commands' own; what is written is thrown away.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import (
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    PreTrainedModel,
    Trainer,
    TrainingArguments,
)

from erprm.rows import StepRow, read_rows

Item = TypeVar("Item")
BATCH = 16  # sequences that are written or read at a time


class Texts:
    """A policy's tokenizer and how its questions are put."""

    def __init__(self, folder: Path, template: str, chat: bool) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder / "policy", padding_side="left")
        self.tokenizer.pad_token = self.tokenizer.pad_token or self.tokenizer.eos_token
        self._template, self._chat = template, chat

    def prompt(self, question: str) -> str:
        """As the model reads it."""
        text = self._template.format(question=question)
        if not self._chat:
            return text
        said: str = self.tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=False,
                                                       add_generation_prompt=True)
        return said

    def ids(self, text: str) -> list[int]:
        """A template has written its special tokens itself."""
        found: list[int] = self.tokenizer(text, add_special_tokens=not self._chat)["input_ids"]
        return found


def write(folder: Path, texts: Texts, prompts: Sequence[str], n: int, given: argparse.Namespace) -> int:
    """`n` continuations of each prompt; returns how many tokens were written."""
    model = AutoModelForCausalLM.from_pretrained(folder / "policy", dtype=torch.float32).eval()
    stop = {"stop_strings": [given.stop], "tokenizer": texts.tokenizer} if given.stop else {}
    written = 0
    for batch in _batches(prompts, max(1, BATCH // n)):
        padded = texts.tokenizer.pad({"input_ids": [texts.ids(prompt) for prompt in batch]}, return_tensors="pt")
        with torch.inference_mode():
            out = model.generate(**padded, do_sample=True, temperature=1.0, top_k=0, top_p=1.0, num_return_sequences=n,
                                 max_new_tokens=given.max_tokens, pad_token_id=texts.tokenizer.pad_token_id, **stop)
        written += int((out[:, padded["input_ids"].shape[1]:] != texts.tokenizer.pad_token_id).sum())
    return written


def sample(folder: Path, texts: Texts, given: argparse.Namespace) -> str:
    """Solutions to the problems whose solutions were labelled."""
    questions = list(dict.fromkeys(row.prompt for row in read_rows(folder / "solutions.parquet")))
    written = write(folder, texts, [texts.prompt(question) for question in questions], given.n, given)
    return f"{len(questions) * given.n} solutions, {written} tokens"


def label(folder: Path, texts: Texts, given: argparse.Namespace) -> str:
    """Completions of every prefix that ends with a step but the last; equal ones are completed once."""
    prefixes = dict.fromkeys(texts.prompt(row.prompt) + "\n".join(row.steps[:end]) + "\n"
                             for row in read_rows(folder / "solutions.parquet") for end in range(1, len(row.steps)))
    written = write(folder, texts, list(prefixes), given.n, given)
    return f"{len(prefixes) * given.n} completions, {written} tokens"


def signs(folder: Path, texts: Texts) -> list[int] | None:
    """The tokens that a causal model goes on with, wrong and right; None where there is a token classifier."""
    if type(AutoConfig.from_pretrained(folder / "policy")) in MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING:
        return None
    found: list[int] = texts.tokenizer.convert_tokens_to_ids(["-", "+"])
    return found


def reward_model(place: Path, signs: list[int] | None) -> PreTrainedModel:
    """In the form that there is."""
    found: PreTrainedModel = (AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32) if signs else
                              AutoModelForTokenClassification.from_pretrained(place, num_labels=2, dtype=torch.float32))
    return found


class Rows(Dataset[dict[str, Any]]):
    """Tokens of each row, and at the last token of each step its class: for a causal model, as the token behind it."""

    def __init__(self, texts: Texts, rows: Sequence[StepRow], signs: list[int] | None) -> None:
        self._rows = [self._encoded(texts, row) for row in rows]
        for row in self._rows if signs else ():
            row["input_ids"].append(texts.tokenizer.eos_token_id)
            row["labels"] = [-100] + [label if label == -100 else signs[label] for label in row["labels"]]  # type: ignore[index]

    @staticmethod
    def _encoded(texts: Texts, row: StepRow) -> dict[str, Any]:
        ids = texts.ids(texts.prompt(row.prompt))
        labels = [-100] * len(ids)
        rates = [k / n if n else -1.0 for k, n in zip(row.successes or (), row.trials or (), strict=True)]
        for step, rate in itertools.zip_longest(row.steps, rates, fillvalue=0.0):
            more = texts.tokenizer(f"{step}\n", add_special_tokens=False)["input_ids"]
            ids += more
            labels += [-100] * (len(more) - 1) + [-100 if rate < 0 else round(rate)]
        return {"input_ids": ids, "labels": labels}

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._rows[index]


def train(folder: Path, texts: Texts, given: argparse.Namespace) -> str:
    """One epoch on the labelled rows."""
    classes = signs(folder, texts)
    rows = Rows(texts, list(read_rows(folder / "labels" / "rows.parquet")), classes)
    model = reward_model(folder / "policy", classes)
    model.config.pad_token_id = texts.tokenizer.pad_token_id
    arguments = TrainingArguments(output_dir=str(folder / "plain"), num_train_epochs=1, per_device_train_batch_size=8,
                                  learning_rate=1e-5, save_strategy="no", report_to=[], use_cpu=True)
    texts.tokenizer.padding_side = "right"
    trainer = Trainer(model, arguments, train_dataset=rows,
                      data_collator=DataCollatorForTokenClassification(texts.tokenizer))
    trainer.train()
    trainer.save_model(str(folder / "plain"))
    return f"{len(rows)} rows, {trainer.state.global_step} steps"


def score(folder: Path, texts: Texts, given: argparse.Namespace) -> str:
    """The held-out solutions by the trained model."""
    classes = signs(folder, texts)
    rows = Rows(texts, list(read_rows(folder / "heldout.parquet")), classes)
    model = reward_model(folder / "plain", classes).eval()
    texts.tokenizer.padding_side = "right"
    collate = DataCollatorForTokenClassification(texts.tokenizer)
    means = []
    for places in _batches(range(len(rows)), BATCH):
        padded = collate([dict(rows[place]) for place in places])
        labels = padded.pop("labels")
        with torch.inference_mode():
            logits = model(**padded).logits
        if classes:
            logits, labels = logits[:, :-1, classes], labels[:, 1:]
        right = logits.softmax(-1)[..., 1]
        means += [float(found[wanted].mean()) for found, wanted in zip(right, labels != -100, strict=True)]
    return f"{len(means)} rows, mean score {np.mean(means):.3f}"


def _batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def main() -> None:
    stages = {"sample": sample, "label": label, "train": train, "score": score}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=stages)
    parser.add_argument("folder", type=Path, help="of a model of bench/real.py")
    parser.add_argument("--template", required=True, help="the question's text around {question}")
    parser.add_argument("--chat", action="store_true", help="put it as a user's message")
    parser.add_argument("--stop", help="string that ends a completion")
    parser.add_argument("--n", type=int, default=4)
    parser.add_argument("--max-tokens", type=int, default=48)
    given = parser.parse_args()
    texts = Texts(given.folder, given.template, given.chat)
    print(stages[given.stage](given.folder, texts, given))


if __name__ == "__main__":
    main()
