"""From a picture to the pixels that a tower reads: the contract, and open_clip's own transform, which can be hashed."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from dept_vl.untrusted.images import MAX_PIXELS

RESIZES = ("squash", "model")


class Preprocessing(ABC):
    """A picture to the pixels of a tower, by its own library; picklable by itself.

    With resize="squash" both sides are brought to the tower's size and every part of the picture is kept (the CLIP-T5
    recipe); "model" is the model's own way, which for most cuts the longer side off.

    Attributes: size (rows and columns of the pixels), settings (all that it depends on, as a JSON object; its
    "resize_mode" is "squash" or else the model's own).
    """

    size: tuple[int, int]
    settings: dict[str, Any]

    @abstractmethod
    def __call__(self, image: Image.Image) -> Float[Tensor, "channels rows columns"]:
        """Raises: ValueError for a picture that cannot be resized."""


class Preprocess(Preprocessing):
    """open_clip's resizing, scaling to 0..1, subtracting of the mean and dividing by the deviation.

    `settings` is open_clip's `preprocess_cfg`.
    """

    def __init__(self, settings: Mapping[str, Any], resize: str) -> None:
        check_resize(resize)
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
        if self.settings["resize_mode"] == "shortest":
            refuse_strip(image, self.size)
        return self._transform(image)


def check_resize(resize: str) -> None:
    """Raises: ValueError."""
    if resize not in RESIZES:
        raise ValueError(f"resize: wanted one of {', '.join(RESIZES)}, given {resize!r}")


def refuse_strip(image: Image.Image, size: tuple[int, int]) -> None:
    """Raises: ValueError for a picture so thin that bringing its shorter side to `size` would fill the memory."""
    width, height = image.size
    scale = max(size[0] / height, size[1] / width)
    if height * width * scale**2 > MAX_PIXELS:
        given = f"{int(height * width * scale**2):,}"
        raise ValueError(
            f"an image of {width} x {height} resized by its shorter side: wanted at most "
            f"{MAX_PIXELS:,} pixels, given {given}; resize='squash' can take it"
        )


def _per_channel(values: float | list[float] | tuple[float, ...]) -> list[float]:
    return [float(value) for value in values] if isinstance(values, (list, tuple)) else [float(values)] * 3
