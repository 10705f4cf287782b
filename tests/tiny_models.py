"""Language models of a few thousand random weights and a CLIP, written in the layouts of the real ones."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save_file

WORDS = (
    "a red green blue yellow cyan circle square triangle star on dark light ground left right above below of "
    "vqa : caption what where how many color shape size is the there ? no yes one two three big small"
).split()


V1_1 = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
LABEL_WORDS = "label sentence 0 1 2 3 4 5 6 7 8 9 . acceptable unacceptable entailment neutral contradiction".split()


def write_tokenizer(folder: Path, words: Sequence[str], *, template: str | None = None, **special: str) -> int:
    """A word tokenizer whose first ids are the special tokens in order; returns its size. The template says which of
    them stand around a text ($A); None: none does."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: row for row, word in enumerate(dict.fromkeys([*special.values(), *words]))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=special["unk_token"]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if template is not None:
        around = [(token, vocabulary[token]) for token in template.split() if token != "$A"]
        tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=around)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **special).save_pretrained(folder)
    return len(vocabulary)


def write_tiny_t5(folder: Path, *, seed: int = 0, d_model: int = 32, layers: int = 1, gated: bool = False) -> Path:
    """A T5 with its own word tokenizer. Its weights are large enough that every input gets its own answer. `gated`: as
    v1.1 and the LM-adapted ones are, with a gated feed-forward and a head of its own, whose output is not scaled."""
    from transformers import T5Config, T5ForConditionalGeneration

    size = write_tokenizer(
        folder, WORDS, template="$A </s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )  # fmt: skip
    config = T5Config(
        vocab_size=size, d_model=d_model, d_kv=8, d_ff=48, num_layers=layers, num_heads=4,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=1, **(V1_1 if gated else {}),
    )  # fmt: skip
    model = T5ForConditionalGeneration(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(std=weight.shape[1] ** -0.5, generator=generator)
        reading = model.decoder.block[0].layer[1].EncDecAttention
        reading.q.weight.mul_(4)  # looks at few places,
        reading.o.weight.mul_(40)  # and what it reads outweighs what it wrote
        table = model.get_input_embeddings().weight.normal_(generator=generator)  # T5's head is the same tensor
        table[:3] = 0  # so no answer ends early
        if gated:  # transformers ties the two in every T5 that it makes, and leaves a checkpoint's as they are
            head = torch.randn(table.shape, generator=generator) * d_model**-0.5
            model.lm_head.weight = torch.nn.Parameter(head)
    model.save_pretrained(folder)
    if gated:  # config.json as the released ones have it
        written = json.loads((folder / "config.json").read_text())
        del written["scale_decoder_outputs"]
        (folder / "config.json").write_text(json.dumps(written | V1_1))
    return folder


def write_tiny_gpt2(folder: Path, *, seed: int = 0, d_model: int = 32, n_positions: int = 96) -> Path:
    """A GPT-2: learned positions, one token for beginning, end and unknown, no padding token."""
    from transformers import GPT2Config, GPT2LMHeadModel

    end = "<|endoftext|>"
    size = write_tokenizer(folder, [*WORDS, *LABEL_WORDS], eos_token=end, bos_token=end, unk_token=end)
    config = GPT2Config(
        vocab_size=size, n_embd=d_model, n_layer=2, n_head=4, n_positions=n_positions, bos_token_id=0, eos_token_id=0
    )
    model = GPT2LMHeadModel(config)
    _enlarge(model, seed)
    model.save_pretrained(folder)
    return folder


def write_tiny_llama(folder: Path, *, seed: int = 0, d_model: int = 32, **config: Any) -> Path:
    """A LLaMA: rotary positions, two query heads to each key head, a BOS in front of every text, no padding token."""
    from transformers import LlamaConfig, LlamaForCausalLM

    size = write_tokenizer(
        folder, [*WORDS, *LABEL_WORDS], template="<s> $A", unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )  # fmt: skip
    config = {
        "hidden_size": d_model, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 96, **config,
    }  # fmt: skip
    model = LlamaForCausalLM(LlamaConfig(vocab_size=size, bos_token_id=1, eos_token_id=2, pad_token_id=None, **config))
    _enlarge(model, seed)
    model.save_pretrained(folder)
    return folder


def _enlarge(model: Any, seed: int) -> None:
    """Weights large enough that the answer depends on every token read, its place included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                table = any(each in name for each in ("wte", "wpe", "embed_tokens"))
                weight.normal_(std=1.0 if table else 1.5 * weight.shape[1] ** -0.5, generator=generator)


def write_tiny_clip(folder: Path, *, seed: int = 0) -> Path:
    """A ModifiedResNet CLIP of 32 pixels: layer 2 is a grid of 4 x 4, layer 3 of 2 x 2."""
    import open_clip

    folder.mkdir(parents=True, exist_ok=True)
    vision = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8}
    text = {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1}
    config = {"model_cfg": {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if "running" in name or "bn" in name or "downsample.1" in name:
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5, generator=generator)
        elif tensor.dim() > 1:
            tensor.normal_(std=tensor[0].numel() ** -0.5, generator=generator)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


def paint(seed: int) -> Image.Image:
    """A picture that no other seed gives: its four quarters in four colours."""
    draw = random.Random(seed)
    picture = Image.new("RGB", (48, 40))
    for left in (0, 24):
        for top in (0, 20):
            colour = tuple(draw.choice((0, 255)) for _ in range(3))
            picture.paste(colour, (left, top, left + 24, top + 20))
    return picture
