"""A T5 of a few thousand random weights and a CLIP to go with it, written in the layouts of the real ones."""

import json
import random
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file

WORDS = (
    "a red green blue yellow cyan circle square triangle star on dark light ground left right above below of "
    "vqa : caption what where how many color shape size is the there ? no yes one two three big small"
).split()


def write_tiny_t5(folder: Path, *, seed: int = 0, d_model: int = 32) -> Path:
    """A T5 with its own word tokenizer. Its weights are large enough that every input gets its own answer."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    vocabulary = {word: row for row, word in enumerate(["<pad>", "</s>", "<unk>", *dict.fromkeys(WORDS)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
    ).save_pretrained(folder)
    config = T5Config(
        vocab_size=len(vocabulary), d_model=d_model, d_kv=8, d_ff=48, num_layers=1, num_heads=4,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
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
    model.save_pretrained(folder)
    return folder


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
