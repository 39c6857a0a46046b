"""The tokenizers of published models: a prefix is continued from exactly the tokens that the policy wrote."""

from collections.abc import Sequence

import numpy as np
import pytest

from erprm.engines import Completion, PromptTemplate, Request, Sampling
from erprm.engines.prompts import continuations
from erprm.engines.stopping import Detokenizer
from erprm.selection.beam import beam_search
from erprm.selection.search import SearchSettings
from erprm.steps import prefix_text, split_steps

NAMES = ("llama2", "llama3_1", "gemma3", "qwen3", "deepseek_v3")
FEW_SHOT = PromptTemplate(text="Q: What is 1+1?\nA: Add them.\nThe answer is 2\n\nQ: {question}\nA:")
QUESTION = "How many apples?"
# Texts behind "A:", by the splitter that cuts them.
TEXTS = {
    "newline": " Tom has 3.\nSo 3+4=7 apples.\n  thus, 7\nThe answer is 7",
    "paragraph": " Tom has 3 apples.\n\nThen he gets 4:\n\\[\n3 + 4 = 7\n\\]\n\n  indented, so\n\nThe answer is 7.",
    "step": " **Step 1:** Tom has 3.\n**Step 2:** 3+4=7.\n\n**Step 3:** It is 7.\nThe answer is 7",
    "sentence": " Tom has 3. He gets 4. That makes 7!\nThe answer is 7",
    "blank-line": "\nFirst: é中 3.\n\n\nThen 4\n \nThe answer is 7",  # ":" and a line break are one token elsewhere
}


@pytest.mark.parametrize("splitter", TEXTS)
@pytest.mark.parametrize("name", NAMES)
def test_every_prefix_is_what_the_policy_wrote(name: str, splitter: str, real_tokenizer) -> None:
    tokenizer, text = real_tokenizer(name), TEXTS[splitter]
    prompt, whole = FEW_SHOT.ids(tokenizer, QUESTION, ""), FEW_SHOT.ids(tokenizer, QUESTION, text)
    assert whole[: len(prompt)] == prompt, "the seam is where the policy began"
    written = Detokenizer(tokenizer).text(whole[len(prompt):])
    assert written == text
    steps = split_steps(written, splitter)
    lengths = []
    for length in range(len(steps) + 1):
        ids = FEW_SHOT.ids(tokenizer, QUESTION, prefix_text(steps, length))
        assert ids == whole[: len(ids)], prefix_text(steps, length)
        lengths.append(len(ids))
    assert len(steps) >= 3
    assert lengths == sorted(set(lengths))
    assert lengths[-1] == len(whole)


class Reciter:
    """A policy that writes one text in the tokens of a real tokenizer, and goes on only from its own tokens."""

    def __init__(self, tokenizer, text: str) -> None:
        self.tokenizer, self.detokenizer = tokenizer, Detokenizer(tokenizer)
        self.whole = FEW_SHOT.ids(tokenizer, QUESTION, text)
        self.continued: list[str] = []

    def fingerprint(self) -> dict[str, str]:
        return {"engine": "reciter"}

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        return [[self._one(request, sampling)] * request.n for request in requests]

    def _one(self, request: Request, sampling: Sampling) -> Completion:
        ids = FEW_SHOT.ids(self.tokenizer, request.question, request.prefix)
        assert ids == self.whole[: len(ids)], f"not my tokens: {request.prefix!r}"
        self.continued.append(request.prefix)
        for count in range(1, len(self.whole) - len(ids) + 1):
            text = self.detokenizer.text(self.whole[len(ids): len(ids) + count])
            found = [(text.index(stop), stop) for stop in sampling.stop if stop in text]
            if found:
                return Completion(text[: min(found)[0]], "stop", count, min(found)[1])
        return Completion(self.detokenizer.text(self.whole[len(ids):]), "stop", len(self.whole) - len(ids) + 1)

    def close(self) -> None:
        pass


@pytest.mark.parametrize("splitter", ["newline", "paragraph", "step"])
@pytest.mark.parametrize("name", NAMES)
def test_a_search_goes_on_from_the_policys_own_tokens(name: str, splitter: str, real_tokenizer) -> None:
    """Step by step the search puts together the text that the policy would have written alone."""
    engine = Reciter(real_tokenizer(name), TEXTS[splitter])
    settings = SearchSettings(width=1, expand=2, splitter=splitter)
    [[path]] = beam_search([QUESTION], engine, lambda texts: [np.ones(len(steps)) for _, steps in texts], settings)
    assert path.text == TEXTS[splitter]
    assert path.steps == tuple(split_steps(TEXTS[splitter], splitter))
    assert path.finished
    assert len(set(engine.continued)) >= len(path.steps)


@pytest.mark.parametrize("name", NAMES)
def test_a_continuation_has_no_space_of_the_tokenizers_own(name: str, real_tokenizer) -> None:
    tokenizer = real_tokenizer(name)
    spaced, joined, broken, empty = continuations(tokenizer, [" Tom", "Tom", "\nTom", ""])
    assert (len(spaced), len(joined), empty) == (1, 1, [])
    assert spaced != joined
    assert broken[-1:] == joined
