"""Images on a GPU: the VQA step with the store on the card, the towers' rates, captions by a search with 5 beams."""

import itertools
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from benchmarks.lengths import encoded, vqa_lengths
from benchmarks.setting import Setting
from benchmarks.shapes import dept, step, t5
from benchmarks.store import clip_tower, write_store
from benchmarks.table import Line
from benchmarks.timing import Times, interleave, inverse
from dept_vl.run.images import Resident
from dept_vl.vision import FrozenClip, VisualProjection


def vision(setting: Setting, rate: float) -> tuple[list[Line], dict[str, Times]]:
    """T5-base with 36 patches. `rate` is not needed here."""
    rows, images, captioned = (2, 8, 2) if setting.tiny else (256, 2048, 64)
    clip, backbone = clip_tower(setting), t5("tiny" if setting.tiny else "t5-base", setting)
    projection = VisualProjection(clip.width, backbone.d_model, clip.num_patches, setting.generator())
    network = dept(backbone, setting, 40, projection)
    keys = [f"{number:012}.jpg" for number in range(images)]
    examples = encoded(vqa_lengths(images, setting.seed), setting.seed, keys)
    parts = np.arange(images).reshape(-1, rows)
    towers = {"RN101": clip} if setting.tiny else {"RN101": clip, "ViT-L/14": _large(setting)}
    pixels = {
        name: torch.randn(rows, 3, *tower.preprocess.size, device=setting.device) for name, tower in towers.items()
    }
    with TemporaryDirectory() as folder:
        store = write_store(Path(folder) / "store", keys, (clip.num_patches, clip.width), setting.seed)
        resident, turns = Resident(store, setting.device), itertools.cycle(parts)

        def train() -> None:
            step(network, examples.collate(next(turns), resident, np.zeros(rows)).to(setting.device))

        asked = examples.collate(parts[0][:captioned], resident, np.zeros(captioned)).to(setting.device)
        runs = {"VQA step, t5-base m=40, resident store": (rows, [train])}
        for name, tower in towers.items():
            pictures = pixels[name]
            extract = [lambda tower=tower, pictures=pictures: tower.grid(pictures)]
            runs[f"{name} extraction without decoding"] = rows, extract
        captions = [lambda: network.generate(asked, max_new_tokens=20, num_beams=5)]
        runs["captions, beam 5, 20 tokens"] = captioned, captions
        times = interleave(
            {name: run for name, (_, run) in runs.items()},
            seconds=setting.seconds, device=setting.device, least=setting.least,
        )  # fmt: skip
    return [Line(name, inverse(times[name], number), None, "samples/s") for name, (number, _) in runs.items()], {
        "images": times
    }


def _large(setting: Setting) -> FrozenClip:
    dtype = str(setting.dtype).removeprefix("torch.")
    return FrozenClip.load(
        "ViT-L-14", layer=22, pooling="stack", resize="squash", dtype=dtype, random_weights=True
    ).to(setting.device)  # fmt: skip
