"""Image towers of a few thousand random weights in transformers' layout, and files of weights for timm's smallest."""

from pathlib import Path

import numpy as np
import timm
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file

SIDE, PATCH, WIDTH = 32, 8, 16  # a grid of 4 x 4
_SIZES = {
    "hidden_size": WIDTH, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32,
    "image_size": SIDE, "patch_size": PATCH,
}  # fmt: skip
_TEXT = {
    "hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 32,
    "max_position_embeddings": 8, "projection_size": WIDTH, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
_DINO = {name: size for name, size in _SIZES.items() if name != "intermediate_size"} | {"mlp_ratio": 2}
_SQUARE = {"height": SIDE, "width": SIDE}


def _clip():
    text = {name: size for name, size in _TEXT.items() if name != "projection_size"}
    config = transformers.CLIPConfig(text_config=text, vision_config=_SIZES, projection_dim=WIDTH)
    processor = transformers.CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=_SQUARE)
    return transformers.CLIPModel(config), processor


def _siglip():
    config = transformers.SiglipConfig(text_config=_TEXT, vision_config=_SIZES)
    return transformers.SiglipModel(config), transformers.SiglipImageProcessor(size=_SQUARE)


def _siglip2():
    sizes = {name: size for name, size in _SIZES.items() if name != "image_size"}
    config = transformers.Siglip2VisionConfig(**sizes, num_patches=(SIDE // PATCH) ** 2)
    processor = transformers.Siglip2ImageProcessor(patch_size=PATCH, max_num_patches=(SIDE // PATCH) ** 2)
    return transformers.Siglip2VisionModel(config), processor


def _dinov2():
    processor = transformers.BitImageProcessor(size={"shortest_edge": 40}, crop_size=_SQUARE)
    return transformers.Dinov2Model(transformers.Dinov2Config(**_DINO)), processor


def _dinov2_with_registers():
    config = transformers.Dinov2WithRegistersConfig(**_DINO, num_register_tokens=3)
    return transformers.Dinov2WithRegistersModel(config), transformers.BitImageProcessor(
        size=_SQUARE, crop_size=_SQUARE
    )


def _dinov3():
    config = transformers.DINOv3ViTConfig(**_SIZES, num_register_tokens=2)
    return transformers.DINOv3ViTModel(config), transformers.DINOv3ViTImageProcessor(size=_SQUARE)


def _vit():
    config = transformers.ViTConfig(**_SIZES, num_labels=5)
    return transformers.ViTForImageClassification(config), transformers.ViTImageProcessor(size=_SQUARE)


TRANSFORMERS = {
    "clip": _clip, "siglip": _siglip, "siglip2": _siglip2, "dinov2": _dinov2,
    "dinov2_with_registers": _dinov2_with_registers, "dinov3": _dinov3, "vit": _vit,
}  # fmt: skip


def write_tower(kind: str, folder: Path, seed: int = 0) -> Path:
    """A model with the image processor that belongs to it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, processor = TRANSFORMERS[kind]()
        for name, weight in model.named_parameters():
            if weight.dim() > 1 and "lambda" not in name:  # away from a start at which blocks add next to nothing
                torch.nn.init.normal_(weight, std=weight[0].numel() ** -0.5)
        model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def write_timm_weights(name: str, path: Path, *, rename: str | None = None, legacy: bool = False) -> Path:
    """Random weights of a network of timm, with its classifier, in safetensors or as torch saves them; `rename` is put
    in front of every name."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        state = timm.create_model(name, pretrained=False).state_dict()
        for weight in state.values():
            if weight.dim() > 1:
                weight.normal_(std=weight[0].numel() ** -0.5)
    state = {f"{rename or ''}{key}": value.contiguous() for key, value in state.items()}
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    return path


def noise(width: int = 50, height: int = 41, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def one_bright_cell(side: int, cells: int, row: int, column: int) -> Image.Image:
    """A grey square of `side` pixels and cells x cells, one of which has a pattern of bright and dark."""
    pixels = np.full((side, side, 3), 127, dtype=np.uint8)
    cell = side // cells
    area = pixels[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell]
    area[:] = 255
    area[::2, :, 0] = 0
    return Image.fromarray(pixels)
