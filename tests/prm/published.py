"""Small models in the published forms of other families, built the way their own code builds them."""

from pathlib import Path

import tiny
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
from transformers import (
    LlamaForTokenClassification,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Model,
)

LLAMA3_CHAT = ("{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>\n\n{{ m['content'] | trim }}<|eot|>"
               "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n\n{% endif %}")
QWEN_CHAT = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"


def sentencepiece_tokenizer() -> PreTrainedTokenizerFast:
    """As Mistral's: a word-start sign, "ки" and the signs as tokens, bytes for the rest. " ки" is two tokens."""
    chars = ["▁", *"abcdefghijklmnopqrstuvwxyzSTPх0123456789+-*/=:.,?ки"]
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2}
    for piece in [*(f"<0x{byte:02X}>" for byte in range(256)), *chars, "▁+", "▁-", "ки"]:
        vocabulary.setdefault(piece, len(vocabulary))
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[("▁", "+"), ("▁", "-"), ("к", "и")], unk_token="<unk>",
                                byte_fallback=True, fuse_unk=True))
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Replace("▁", " ")
    from tokenizers.processors import TemplateProcessing

    core.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def byte_tokenizer(chat: str | None, specials: tuple[str, ...], bos: str | None = "<s>") -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with special tokens and a chat template, as those of Llama-3 and Qwen2."""
    core = Tokenizer.from_str(tiny.tokenizer().backend_tokenizer.to_str())
    core.add_special_tokens([AddedToken(text, special=True) for text in specials])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token=bos, eos_token="</s>", pad_token="<pad>")
    tokenizer.chat_template = chat
    return tokenizer


def shepherd(folder: Path) -> MistralForCausalLM:
    """A Mistral causal language model with a SentencePiece-like tokenizer, as one PyTorch file."""
    tokenizer = sentencepiece_tokenizer()
    torch.manual_seed(1)
    model = MistralForCausalLM(MistralConfig(vocab_size=len(tokenizer), sliding_window=None, **_shape(2))).eval()
    folder.mkdir(parents=True)
    model.config.architectures = ["MistralForCausalLM"]
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    tokenizer.save_pretrained(folder)
    return model


def chat_turns(folder: Path) -> torch.nn.Module:
    """A Llama causal language model with a chat template, as RLHFlow's."""
    tokenizer = byte_tokenizer(LLAMA3_CHAT, ("<|user|>", "<|assistant|>", "<|eot|>"))
    model = tiny.llama(seed=2, vocabulary=len(tokenizer))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


def trl(folder: Path) -> LlamaForTokenClassification:
    """A stock token classification model, as TRL's PRMTrainer saves it."""
    config = tiny.llama().config
    config.num_labels = 2
    torch.manual_seed(3)
    model = LlamaForTokenClassification(config).eval()
    torch.nn.init.normal_(model.score.bias)
    model.save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return model


class QwenProcessReward(torch.nn.Module):
    """Qwen2 with the published head: Linear, ReLU, Linear to two classes."""

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__()
        self.model = Qwen2Model(config)
        self.score = torch.nn.Sequential(torch.nn.Linear(config.hidden_size, config.hidden_size), torch.nn.ReLU(),
                                         torch.nn.Linear(config.hidden_size, 2))

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Logits [B, T, 2]."""
        return self.score(self.model(input_ids=input_ids).last_hidden_state)


def qwen(folder: Path) -> QwenProcessReward:
    """Weights and config under the published names."""
    tokenizer = byte_tokenizer(QWEN_CHAT, ("<|im_start|>", "<|im_end|>", "<extra_0>"), bos=None)
    torch.manual_seed(4)
    config = Qwen2Config(vocab_size=len(tokenizer), **_shape(2))
    model = QwenProcessReward(config).eval()
    folder.mkdir(parents=True)
    config.architectures = ["Qwen2ForProcessRewardModel"]
    config.auto_map = {"AutoModel": "modeling_qwen2_rm.Qwen2ForProcessRewardModel"}
    config.save_pretrained(folder)
    save_file({name: weight.contiguous() for name, weight in model.state_dict().items()}, folder / "model.safetensors",
              metadata={"format": "pt"})
    tokenizer.save_pretrained(folder)
    return model


class SkyworkReward(torch.nn.Module):
    """A causal language model with a value head on its last hidden state."""

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__()
        self.causal = Qwen2ForCausalLM(config)
        self.value = torch.nn.Linear(config.hidden_size, 1)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """P(+) [B, T]."""
        hidden = self.causal(input_ids=input_ids, output_hidden_states=True).hidden_states[-1]
        return torch.sigmoid(self.value(hidden)).squeeze(-1)


def skywork(folder: Path) -> SkyworkReward:
    """Weights and config under the published names: the causal model's own, and v_head.summary."""
    tokenizer = byte_tokenizer(None, (), bos="<s>")
    torch.manual_seed(5)
    config = Qwen2Config(vocab_size=len(tokenizer), **_shape(2))
    model = SkyworkReward(config).eval()
    folder.mkdir(parents=True)
    config.architectures = ["Qwen2ForPrmModel"]
    config.save_pretrained(folder)
    state = {name: weight.contiguous() for name, weight in model.causal.state_dict().items()}
    state |= {f"v_head.summary.{name}": weight for name, weight in model.value.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save_pretrained(folder)
    return model


def _shape(heads: int) -> dict[str, object]:
    return {"hidden_size": 32 * heads, "intermediate_size": 64 * heads, "num_hidden_layers": 2,
            "num_attention_heads": heads, "num_key_value_heads": heads, "max_position_embeddings": 1024,
            "initializer_range": 0.1, "tie_word_embeddings": False, "bos_token_id": None, "eos_token_id": None,
            "pad_token_id": None}
