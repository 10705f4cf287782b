"""Pretraining of tiny-clip: open_clip's ModifiedResNet and text tower on pictures of scenes with descriptions.

Half of each batch are *siblings* of the other half: the same scene but for one change (a shape, a color, a
size, a cell or the ground), so that telling pictures apart takes every attribute of every thing.
"""

import dataclasses
import json
import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import torch
from open_clip.loss import ClipLoss
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from dept_vl.embedded.pretraining.language import descriptions
from dept_vl.embedded.shapes.render import SIDE, render_array
from dept_vl.embedded.shapes.text_rows import tell
from dept_vl.embedded.shapes.world import CELLS, COLORS, SHAPES, SIZES, Scene, held_out, sample_scene, sibling

CONTEXT_LENGTH = 48
_WEIGHTS = "open_clip_model.safetensors"
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # OpenAI CLIP's


@dataclasses.dataclass(frozen=True)
class ClipRecipe:
    steps: int = 2_000
    batch_size: int = 128  # pictures, half of them siblings of the other half
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup_steps: int = 300
    seed: int = 1
    log_every: int = 250


def clip_config(vocabulary: int) -> dict:
    """open_clip's model and preprocessing configuration of tiny-clip."""
    return {
        "model_cfg": {
            "embed_dim": 96,
            "vision_cfg": {"layers": [1, 1, 1, 1], "width": 16, "image_size": SIDE, "patch_size": None},
            "text_cfg": {
                "context_length": CONTEXT_LENGTH, "vocab_size": vocabulary, "width": 96, "heads": 3, "layers": 2,
                "hf_tokenizer_name": "tiny-clip", "tokenizer_kwargs": {"clean": "lower"},
                "pad_id": 0, "eos_id": 1, "pool_type": "eos",
            },
        },
        "preprocess_cfg": {"mean": list(_MEAN), "std": list(_STD), "interpolation": "bicubic", "resize_mode": "squash"},
    }  # fmt: skip


def tiny_clip(vocabulary: int) -> open_clip.CLIP:
    config = clip_config(vocabulary)["model_cfg"]
    return open_clip.CLIP(
        config["embed_dim"],
        open_clip.CLIPVisionCfg(**config["vision_cfg"]),
        open_clip.CLIPTextCfg(
            **{key: value for key, value in config["text_cfg"].items() if key != "hf_tokenizer_name"}
        ),
    )


def train_clip(
    model: open_clip.CLIP,
    tokenizer: PreTrainedTokenizerBase,
    recipe: ClipRecipe,
    log: Callable[[str], None],
) -> dict[str, float]:
    """Trains in place; returns recall@1 of 400 held-out pictures and the linear probes of the grid (`score_clip`)."""
    rng = random.Random(f"clip {recipe.seed}")
    decayed = [p for p in model.parameters() if p.ndim > 1]
    groups = [{"params": decayed}, {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.steps, pct_start=recipe.warmup_steps / recipe.steps,
        cycle_momentum=False,
    )  # fmt: skip
    contrast, started, losses = ClipLoss(), time.monotonic(), []
    model.to(memory_format=torch.channels_last).train()
    for step in range(1, recipe.steps + 1):
        scenes = [sample_scene(rng, wanted_held_out=False) for _ in range(recipe.batch_size // 2)]
        scenes += [_pretraining_sibling(scene, rng) for scene in scenes]
        pixels = to_pixels(scenes).contiguous(memory_format=torch.channels_last)
        texts = to_ids(tokenizer, [full_description(scene, rng) for scene in scenes])
        with torch.autocast("cpu", torch.bfloat16):
            images, words = model.encode_image(pixels, normalize=True), model.encode_text(texts, normalize=True)
        loss = contrast(images.float(), words.float(), model.logit_scale.exp())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        model.logit_scale.data.clamp_(max=np.log(100))
        losses.append(loss.detach())
        if step % recipe.log_every == 0:
            record = {"step": step, "seconds": round(time.monotonic() - started)}
            log(
                json.dumps(
                    record | {"loss": round(float(torch.stack(losses).mean()), 3)} | score_clip(model, tokenizer)
                )
            )
            losses = []
    return score_clip(model, tokenizer)


@torch.no_grad()
def score_clip(model: open_clip.CLIP, tokenizer: PreTrainedTokenizerBase) -> dict[str, float]:
    """Recall@1 picture to text over 400 held-out scenes; for layer 3 (stacked 2 x 2) and layer 4 the share of things
    whose shape, color and size a linear classifier reads off their own cell (600 scenes, half to fit)."""
    was_training = model.training
    model.eval()
    rng = random.Random("score")
    scenes = [sample_scene(rng, wanted_held_out=True) for _ in range(600)]
    pixels = to_pixels(scenes)
    images = model.encode_image(pixels[:400], normalize=True)
    words = model.encode_text(to_ids(tokenizer, [full_description(each, rng) for each in scenes[:400]]), normalize=True)
    scores = {"recall@1": float((images @ words.T).argmax(1).eq(torch.arange(400)).float().mean())}
    layers = model.visual.forward_intermediates(pixels, indices=[3, 4], intermediates_only=True)["image_intermediates"]
    stacked = torch.nn.functional.pixel_unshuffle(layers[0], 2).flatten(2).transpose(1, 2)
    for name, grid in (("layer3", stacked), ("layer4", layers[1].flatten(2).transpose(1, 2))):
        scores |= {f"{name}_{key}": value for key, value in _probe(grid, scenes).items()}
    model.train(was_training)
    return {name: round(value, 3) for name, value in scores.items()}


def _probe(grid: Tensor, scenes: list[Scene]) -> dict[str, float]:
    """Least squares with a small ridge from a cell's features to its thing's attributes: what a linear map can read."""
    cells = torch.tensor([[scene.at(cell) is not None for cell in range(CELLS)] for scene in scenes])
    features = torch.cat([grid[cells], torch.ones(int(cells.sum()), 1)], 1)
    fit = int(cells[: len(scenes) // 2].sum())
    scores = {}
    for attribute, values in (("shape", SHAPES), ("color", COLORS), ("size", SIZES)):
        truth = torch.tensor([values.index(getattr(thing, attribute)) for scene in scenes for thing in scene.things])
        wanted = torch.nn.functional.one_hot(truth, len(values)).float()
        gram = features[:fit].T @ features[:fit]
        ridge = 1e-2 * gram.diagonal().mean() * torch.eye(len(gram))
        weights = torch.linalg.solve(gram + ridge, features[:fit].T @ wanted[:fit])
        scores[attribute] = float((features[fit:] @ weights).argmax(1).eq(truth[fit:]).float().mean())
    return scores


def full_description(scene: Scene, rng: random.Random) -> str:
    """A text that leaves nothing out: every thing with its place, and the ground."""
    if rng.random() < 0.7:
        return tell(scene, rng)
    return dict(descriptions(scene))["place"] + " " + dict(descriptions(scene))["large"]


def to_pixels(scenes: list[Scene]) -> Tensor:
    """Normalised pictures [batch, 3, 96, 96], as open_clip's preprocessing makes them of the rendered image."""
    pixels = torch.from_numpy(np.stack([render_array(scene) for scene in scenes])).permute(0, 3, 1, 2).float() / 255
    return (pixels - torch.tensor(_MEAN).view(3, 1, 1)) / torch.tensor(_STD).view(3, 1, 1)


def to_ids(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> Tensor:
    return tokenizer(
        texts, padding="max_length", truncation=True, max_length=CONTEXT_LENGTH, return_tensors="pt"
    ).input_ids


def save_clip(model: open_clip.CLIP, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Saves in open_clip's `local-dir:` layout, fp16, tokenizer beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    config = json.dumps(clip_config(len(tokenizer)), indent=2) + "\n"
    (folder / "open_clip_config.json").write_text(config, encoding="utf-8")
    weights = {
        name: tensor.to(torch.float16 if tensor.is_floating_point() else tensor.dtype).contiguous()
        for name, tensor in model.state_dict().items()
    }
    save_file(weights, folder / _WEIGHTS)
    tokenizer.save_pretrained(folder)


def load_clip(folder: Path, vocabulary: int) -> open_clip.CLIP:
    """The stored weights, as fp32."""
    model = tiny_clip(vocabulary)
    model.load_state_dict({name: tensor.float() for name, tensor in load_file(folder / _WEIGHTS).items()})
    return model.eval()


def _pretraining_sibling(scene: Scene, rng: random.Random) -> Scene:
    """A sibling that is not held out."""
    while True:
        changed = sibling(scene, rng)
        if not held_out(changed):
            return changed
