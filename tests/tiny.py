"""Small real models and tokenizers that the tests share: byte-level text, head size 32 (the least that vLLM takes)."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TAG, PLUS, MINUS = " ки", " +", " -"


def tokenizer(words: tuple[str, ...] = (TAG, PLUS, MINUS)) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer: 256 bytes, <s>, </s>, <pad>, and one token each for `words`."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {char: index for index, char in enumerate(alphabet)}
    merges = []
    for text in words:  # merged left to right into one token
        pieces = [piece for piece, _ in pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(text)]
        chars = list("".join(pieces))
        current = chars[0]
        for char in chars[1:]:
            if current + char not in vocabulary:
                merges.append((current, char))
                vocabulary[current + char] = len(vocabulary)
            current += char
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def llama(seed: int = 0, tie: bool = False, layers: int = 2, hidden: int = 64, vocabulary: int | None = None,
          ) -> LlamaForCausalLM:
    """A random Llama with heads of size 32, in float32."""
    torch.manual_seed(seed)
    tok = tokenizer()
    config = LlamaConfig(vocab_size=vocabulary or len(tok), hidden_size=hidden, intermediate_size=2 * hidden,
                         num_hidden_layers=layers, num_attention_heads=hidden // 32, num_key_value_heads=hidden // 32,
                         max_position_embeddings=1024, tie_word_embeddings=tie, bos_token_id=tok.bos_token_id,
                         eos_token_id=tok.eos_token_id, pad_token_id=tok.pad_token_id, initializer_range=0.1)
    return LlamaForCausalLM(config).eval()


def save(folder: Path, **options: object) -> Path:
    """Model and tokenizer in `folder`, as any checkpoint."""
    llama(**options).save_pretrained(folder)  # type: ignore[arg-type]
    tokenizer().save_pretrained(folder)
    return folder


def writer(folder: Path, text: str) -> Path:
    """A policy that writes nothing but these tokens: one dimension of its states is a constant."""
    model, tok = llama(), tokenizer()
    with torch.no_grad():
        model.model.embed_tokens.weight[:, 0] = 30.0
        model.lm_head.weight[:, 0] = -4.0
        model.lm_head.weight[tok(text, add_special_tokens=False)["input_ids"], 0] = 0.0
    model.save_pretrained(folder)
    tok.save_pretrained(folder)
    return folder


def moved(before: Path, after: Path) -> bool:
    """Whether any weight differs between two causal language models."""
    old, new = (AutoModelForCausalLM.from_pretrained(folder).state_dict() for folder in (before, after))
    return any(not torch.equal(old[name], new[name]) for name in old)
