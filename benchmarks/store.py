"""Row 5: the VQA step fed by the feature store, against features in memory and against CLIP in the step.

Random features and pictures stand for real ones: what they hold costs nothing. The store lies in a temporary folder and
is read from the page cache, as any store is that fits into memory.
"""

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.lengths import encoded, vqa_lengths
from benchmarks.setting import Setting
from benchmarks.shapes import dept, step, t5
from benchmarks.store_quickstart import quickstart_store
from benchmarks.table import Line, Measured, Target
from benchmarks.timing import Times, interleave, ratio
from dept_vl.backbones import Backbone
from dept_vl.data.batches import EncodedExamples, Gather
from dept_vl.model import Network
from dept_vl.run.images import Resident
from dept_vl.untrusted.images import open_image
from dept_vl.vision import FeatureStore, FrozenClip, VisualProjection
from dept_vl.vision.shards import StoreFacts, write_shard

ROWS, IMAGES, TURNS = 8, 256, 8  # rows of a batch, images of the store, batches before they come again
PICTURE = (640, 480)  # COCO's commonest size


def store(setting: Setting) -> Measured:
    """DePT m=40 and the projection over 36 patches; both sides collate their text in the step."""
    rows, images = (2, 8) if setting.tiny else (ROWS, IMAGES)
    clip = clip_tower(setting)
    backbone = t5(setting.t5, setting)
    projection = VisualProjection(clip.width, backbone.d_model, clip.num_patches, setting.generator())
    network = dept(backbone, setting, 40, projection)
    keys = [f"{number:012}.jpg" for number in range(images)]
    examples = encoded(vqa_lengths(rows * TURNS, setting.seed), setting.seed, keys)
    with TemporaryDirectory() as folder:
        kept = write_store(Path(folder) / "store", keys, (clip.num_patches, clip.width), setting.seed)
        read = _feeding(examples, network, rows, setting)
        resident = Resident(kept, setting.device)
        held = _held(examples, resident, rows)
        runs = {
            "memory": [read(None, held)],
            "mapped": [read(kept.gather)],
            "resident": [read(resident)],
        }
        fed = interleave(runs, seconds=setting.seconds / 2, device=setting.device, least=setting.least)
        pictures = write_pictures(Path(folder) / "pictures", keys[: min(rows * TURNS, images)], setting)
        pixels = torch.stack([clip.preprocess(open_image(path)) for path in list(pictures.values())[:rows]])
        runs = {
            "mapped": [read(kept.gather)],
            "CLIP": [read(lambda asked: clip.grid(pixels))],
            "mapped alone": [lambda: kept.gather(keys[:rows]).to(setting.device)],
            "CLIP alone": [lambda: clip.grid(pixels)],
            "files and CLIP": [read(lambda asked: clip.grid(_pixels(clip, [pictures[key] for key in asked])))],
        }
        seen = interleave(runs, seconds=setting.seconds / 2, device=setting.device, least=setting.least)
    lines = [
        Line(f"step from {name} store / features in memory", ratio(fed[name], fed["memory"]), Target("<=", 1.05))
        for name in ("mapped", "resident")
    ]
    lines.append(Line("step with CLIP / step from mapped store", ratio(seen["CLIP"], seen["mapped"]), Target(">=", 10)))
    alone = ratio(seen["CLIP alone"], seen["mapped alone"])
    lines.append(Line("features alone, with CLIP / from mapped store", alone))
    whole = ratio(seen["files and CLIP"], seen["mapped"])
    lines.append(Line("step with reading, decoding and CLIP / step from mapped store", whole))
    tower = "tiny-clip" if setting.tiny else "RN101"
    facts = {"shape": setting.t5, "tower": tower, "rows": rows, "patches": clip.num_patches, "width": clip.width}
    line, large = _large_tower(setting, backbone, rows)
    own, quickstart = quickstart_store(setting.lasting(setting.seconds / 2))
    return Measured([*lines, line, *own], {"fed": fed, "clip": seen, "large": large, "quickstart": quickstart}, facts)


def _large_tower(setting: Setting, backbone: Backbone, rows: int) -> tuple[Line, Times]:
    """The same with ViT-L/14 at 336 pixels, the tower of most vision-language models since: 24 x 24 patches, which
    2 x 2 stack to 144."""
    if setting.tiny:
        clip = clip_tower(setting)
    else:
        clip = FrozenClip.load(
            "ViT-L-14-336", layer=22, pooling="stack", resize="squash", dtype=_dtype(setting), random_weights=True
        ).to(setting.device)
    projection = VisualProjection(clip.width, backbone.d_model, clip.num_patches, setting.generator())
    network = dept(backbone, setting, 40, projection)
    keys = [f"{number:012}.jpg" for number in range(rows)]
    examples = encoded(vqa_lengths(rows, setting.seed), setting.seed, keys)
    generator = setting.generator()
    pixels = torch.stack(
        [clip.preprocess(Image.new("RGB", PICTURE, tuple(torch.randint(256, (3,), generator=generator)))) for _ in keys]
    )
    with TemporaryDirectory() as folder:
        kept = write_store(Path(folder) / "store", keys, (clip.num_patches, clip.width), setting.seed)
        read = _feeding(examples, network, rows, setting)
        runs = {"mapped": [read(kept.gather)], "CLIP": [read(lambda asked: clip.grid(pixels))]}
        seen = interleave(runs, seconds=setting.seconds / 2, device=setting.device, least=setting.least)
    what = "step with ViT-L/14 at 336 px / step from mapped store"
    return Line(what, ratio(seen["CLIP"], seen["mapped"]), Target(">=", 10)), seen


def clip_tower(setting: Setting) -> FrozenClip:
    """RN101 of random weights under the CLIP-T5 recipe: 36 patches of width 2048."""
    dtype = _dtype(setting)
    if setting.tiny:
        return FrozenClip.load("tiny-clip", layer=3, pooling="none", resize="squash", dtype=dtype).to(setting.device)
    return FrozenClip.load(
        "RN101", layer=4, pooling="max", pool_size=6, resize="squash", dtype=dtype, random_weights=True
    ).to(setting.device)


def _dtype(setting: Setting) -> str:
    return "bfloat16" if setting.dtype == torch.bfloat16 else "float32"


def write_store(folder: Path, keys: Sequence[str], shape: tuple[int, int], seed: int) -> FeatureStore:
    """A store of random fp16 features, in the form that `extract` writes."""
    folder.mkdir(parents=True)
    features = torch.randn(len(keys), *shape, generator=torch.Generator().manual_seed(seed)).half()
    facts = StoreFacts("0" * 64, "float16", *shape, {})
    name = write_shard(folder, features, [hashlib.sha256(key.encode()).hexdigest() for key in keys], facts)
    return FeatureStore(folder, facts, {key: (name, row) for row, key in enumerate(keys)})


def write_pictures(folder: Path, keys: Sequence[str], setting: Setting) -> dict[str, Path]:
    """Smooth random pictures as JPEG files: noise would be slower to decode than a photograph."""
    folder.mkdir()
    rng = np.random.default_rng(setting.seed)
    for key in keys:
        coarse = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8))
        coarse.resize(PICTURE, Image.Resampling.BICUBIC).save(folder / key, quality=90)
    return {key: folder / key for key in keys}


def _pixels(clip: FrozenClip, paths: Sequence[Path]) -> Tensor:
    return torch.stack([clip.preprocess(open_image(path)) for path in paths])


def _places(examples: EncodedExamples, rows: int) -> list[np.ndarray]:
    return list(np.arange(len(examples)).reshape(-1, rows))


def _held(examples: EncodedExamples, gather: Gather, rows: int) -> list[Tensor]:
    """The features of each batch, side by side in memory."""
    return [gather([examples.examples[row].image for row in part]) for part in _places(examples, rows)]


def _feeding(
    examples: EncodedExamples, network: Network, rows: int, setting: Setting
) -> Callable[..., Callable[[], None]]:
    """`feed(gather)` gives a step that takes the next batch each time; with `held` it finds its features there."""
    parts = _places(examples, rows)

    def feed(gather: Gather | None, held: Sequence[Tensor] = ()) -> Callable[[], None]:
        turns = itertools.cycle(range(len(parts)))

        def run() -> None:
            turn = next(turns)
            batch = examples.collate(parts[turn], gather, np.zeros(rows))
            if gather is None:
                batch = dataclasses.replace(batch, features=held[turn])
            step(network, batch.to(setting.device))

        return run

    return feed
