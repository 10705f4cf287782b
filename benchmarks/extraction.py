"""Row 18: images a second that `extract` stores, beside a plain loop over open_clip, at batches of 1 and of 128.

The plain loop is what open_clip's README does, with the layer's grid read in place of the last vector: open a picture,
`preprocess`, stack, `forward_intermediates`. Ours hashes the files, decodes in workers and writes the store. Pictures
are those of row 5; towers have random weights.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image
from torch import Tensor

from benchmarks.setting import Setting
from benchmarks.store import write_pictures
from benchmarks.table import Line, Measured, Target, exactly
from benchmarks.timing import interleave, ratio
from dept_vl.config import VisionConfig
from dept_vl.vision import FrozenClip, extract
from dept_vl.vision.pooling import pool_grid

BATCH = 128
TOWERS = {
    "RN101": {"layer": 4, "pooling": "max", "pool_size": 6},
    "ViT-B-32": {"layer": 11, "pooling": "none"},
}
TINY = {"tiny-clip": {"layer": 4, "pooling": "none"}}


def extraction(setting: Setting) -> Measured:
    """Seconds of BATCH pictures by each side, and the greatest difference of their features / the greatest feature."""
    towers = TINY if setting.tiny else TINY | TOWERS
    lines, seconds = [], {}
    with TemporaryDirectory() as place:
        pictures = write_pictures(Path(place) / "pictures", _keys(8 if setting.tiny else BATCH), setting)
        for name, reading in towers.items():
            own, times = _one(
                name, reading, pictures, setting.lasting(setting.seconds / len(towers)), Path(place) / name
            )
            seconds[name] = times
            lines += own
    return Measured(lines, seconds, {"images": len(pictures), "workers": VisionConfig().num_workers})


def _keys(number: int) -> list[str]:
    return [f"{place:012}.jpg" for place in range(number)]


def _one(
    name: str, reading: dict, pictures: dict[str, Path], setting: Setting, folder: Path
) -> tuple[list[Line], dict]:
    weights = {} if name in TINY else {"random_weights": True}
    clip = FrozenClip.load(name, resize="squash", **reading, **weights)
    plain = FrozenClip.load(name, resize="squash", **reading, **weights).tower  # as open_clip makes it
    paths, keys = list(pictures.values()), list(pictures)
    turn = iter(range(1 << 30))

    found: dict[str, Tensor] = {}

    def ours() -> None:
        store = extract(clip, pictures, folder / str(next(turn)), num_workers=VisionConfig().num_workers)
        found["ours"] = store.gather(keys)

    def loop(batch: int) -> None:
        found[str(batch)] = _plain(plain, clip.preprocess, reading, paths, batch)

    runs: dict[str, Sequence[Callable[[], None]]] = {
        "ours": [ours],
        "1": [lambda: loop(1)],
        str(BATCH): [lambda: loop(BATCH)],
    }
    times = interleave(runs, seconds=setting.seconds, least=setting.least)
    there, wanted = found["ours"].float(), found[str(BATCH)]
    off = float((there - wanted).abs().max() / wanted.abs().max())
    lines = [
        Line(f"{name}, plain loop at batch {batch} / ours", ratio(times[batch], times["ours"]), Target(">=", 1.5))
        for batch in ("1", "128")
    ]
    return [
        *lines,
        Line(f"{name}, greatest difference of the stored features", exactly(off), Target("<=", 1e-3), ""),
    ], times


@torch.no_grad()
def _plain(tower: torch.nn.Module, preprocess: Callable, reading: dict, paths: list[Path], batch: int) -> Tensor:
    found, normed = [], {"normalize_intermediates": hasattr(tower, "ln_post")}  # of ResNets open_clip norms none
    for start in range(0, len(paths), batch):
        pixels = torch.stack([preprocess(Image.open(path).convert("RGB")) for path in paths[start : start + batch]])
        given = tower.forward_intermediates(
            pixels, indices=[reading["layer"]], intermediates_only=True, output_fmt="NCHW", **normed
        )
        found.append(pool_grid(given["image_intermediates"][0], reading["pooling"], reading.get("pool_size")))
    return torch.cat([each.flatten(2).transpose(1, 2) for each in found])
