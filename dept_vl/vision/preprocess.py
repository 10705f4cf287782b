"""From a picture to the pixels that a tower reads: open_clip's own transform, in a form to be hashed."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from dept_vl.untrusted.images import MAX_PIXELS

RESIZES = ("squash", "model")


class Preprocess:
    """Resize, scale to 0..1, subtract the mean, divide by the deviation. Picklable by itself.

    `settings` is open_clip's `preprocess_cfg`. resize="squash" brings both sides to the tower's size and
    keeps every part of the picture (the CLIP-T5 recipe); "model" keeps the model's own `resize_mode`,
    which for most cuts the longer side off.
    """

    def __init__(self, settings: Mapping[str, Any], resize: str) -> None:
        if resize not in RESIZES:
            raise ValueError(f"resize: wanted one of {', '.join(RESIZES)}, given {resize!r}")
        from open_clip.transform import PreprocessCfg, image_transform_v2

        size = settings["size"]
        self.size: tuple[int, int] = (size, size) if isinstance(size, int) else (size[0], size[1])
        self.settings: dict[str, Any] = {
            "size": list(self.size),  # height, width
            "mean": _per_channel(settings["mean"]),
            "std": _per_channel(settings["std"]),
            "interpolation": settings["interpolation"],
            "resize_mode": "squash" if resize == "squash" else settings["resize_mode"],
            "fill_color": settings["fill_color"],
        }
        described = PreprocessCfg(**{**self.settings, "size": self.size})
        self._transform = image_transform_v2(described, is_train=False)

    def __call__(self, image: Image.Image) -> Float[Tensor, "3 rows columns"]:
        """Raises ValueError for a strip so thin that resizing its shorter side would fill the memory."""
        width, height = image.size
        if self.settings["resize_mode"] == "shortest":
            scale = max(self.size[0] / height, self.size[1] / width)
            if height * width * scale**2 > MAX_PIXELS:
                given = f"{int(height * width * scale**2):,}"
                raise ValueError(
                    f"an image of {width} x {height} resized by its shorter side: wanted at most "
                    f"{MAX_PIXELS:,} pixels, given {given}; resize='squash' can take it"
                )
        return self._transform(image)


def _per_channel(values: float | list[float] | tuple[float, ...]) -> list[float]:
    return [float(value) for value in values] if isinstance(values, (list, tuple)) else [float(values)] * 3
