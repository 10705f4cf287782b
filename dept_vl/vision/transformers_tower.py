"""A frozen image tower of transformers: CLIP, SigLIP and SigLIP 2, DINOv2 and DINOv3, ViT.

The patches of a block go through the tower's final layer norm, as those of open_clip's transformers do, so that a CLIP
has the same features in both libraries; tokens in front of the patches (class, registers) are left out.
"""

import contextlib
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from dept_vl.registry import wanted_one_of
from dept_vl.untrusted.bad_file import listed, reason_of
from dept_vl.untrusted.lfs_pointers import refuse_pointers
from dept_vl.untrusted.tensor_files import check_finite
from dept_vl.untrusted.transformers_files import quiet_report, refuse_conversion
from dept_vl.vision.hashes import hash_json
from dept_vl.vision.preprocess import Preprocessing, check_resize, refuse_strip
from dept_vl.vision.tower import FrozenTower, UnloadableTower, without_moving_random

_CLASSES = {
    "clip": "CLIPVisionModel",
    "clip_vision_model": "CLIPVisionModel",
    "dinov2": "Dinov2Model",
    "dinov2_with_registers": "Dinov2WithRegistersModel",
    "dinov3_vit": "DINOv3ViTModel",
    "siglip": "SiglipVisionModel",
    "siglip_vision_model": "SiglipVisionModel",
    "siglip2": "Siglip2VisionModel",
    "siglip2_vision_model": "Siglip2VisionModel",
    "vit": "ViTModel",
}
_PATCHES = ("siglip2_vision_model",)  # NaFlex: it reads rows of patches, not a picture
_NORMS = ("post_layernorm", "layernorm", "norm")
_SHAPING = (
    "model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "patch_size",
    "hidden_act", "layer_norm_eps", "num_register_tokens", "rope_theta",
)  # fmt: skip
_SETTINGS = (
    "size", "crop_size", "do_resize", "do_center_crop", "do_rescale", "rescale_factor", "do_normalize", "image_mean",
    "image_std", "resample",
)  # fmt: skip


class TransformersTower(FrozenTower):
    """The image tower of a model of transformers; see `Tower`. Layer 0 is the first block, -1 the last."""

    kind = "transformers"

    @classmethod
    def load(
        cls,
        name: str,
        *,
        layer: int | Sequence[int],
        pooling: str,
        resize: str,
        pool_size: int | None = None,
        joined: str = "width",
        dtype: str = "float32",
    ) -> "TransformersTower":
        """Load the tower and its image processor, of a whole CLIP or SigLIP the image side alone.

        Args:
            name: a folder that `save_pretrained` wrote, with preprocessor_config.json, or a hub name.
            layer, pooling, pool_size, joined: see `FrozenTower`.
            resize: "squash" or "model", see `Preprocessing`.

        Raises:
            UnloadableTower: no such model, one of another type, weights that are missing or not finite.
            ValueError: a layer that the tower does not have, or a pooling that its grid does not allow.
        """
        check_resize(resize)
        network, processor = _load(name)
        config = network.config
        preprocess = ProcessorPreprocess(processor, resize, _side(config) if config.model_type in _PATCHES else None)
        shaping = {field: getattr(config, field, None) for field in _SHAPING}
        source = {
            "vision_model_name": name,
            "vision_pretrained": None,
            "vision_config_sha256": hash_json(shaping),
        }
        reading = {"layer": layer, "pooling": pooling, "pool_size": pool_size, "joined": joined, "dtype": dtype}
        return cls(network, preprocess, source=source, **reading)

    def maps(
        self, pixels: Float[Tensor, "batch channels rows columns"], layers: list[int] | None
    ) -> list[Float[Tensor, "batch _width _rows _columns"]]:
        blocks = _blocks(self.tower)
        found: dict[int, Tensor] = {}
        wanted = range(len(blocks)) if layers is None else layers
        with contextlib.ExitStack() as hooks:
            for place in wanted:
                hooks.enter_context(_kept(blocks[place], found, place))
            self.tower(**self._inputs(pixels))
        norm, patch = _final_norm(self.tower), self.tower.config.patch_size
        rows, columns = pixels.shape[2] // patch, pixels.shape[3] // patch
        return [
            norm(found[place])[:, -rows * columns :].transpose(1, 2).unflatten(2, (rows, columns)) for place in wanted
        ]

    def _inputs(self, pixels: Tensor) -> dict[str, Tensor]:
        if self.tower.config.model_type not in _PATCHES:
            return {"pixel_values": pixels}
        patch = self.tower.config.patch_size
        batch, channels, height, width = pixels.shape
        rows, columns = height // patch, width // patch
        cells = pixels.reshape(batch, channels, rows, patch, columns, patch).permute(0, 2, 4, 3, 5, 1)
        shapes = torch.tensor([[rows, columns]] * batch, device=pixels.device)
        mask = torch.ones(batch, rows * columns, dtype=torch.int64, device=pixels.device)
        patches = cells.reshape(batch, rows * columns, -1)
        return {"pixel_values": patches, "pixel_attention_mask": mask, "spatial_shapes": shapes}


class ProcessorPreprocess(Preprocessing):
    """The image processor of transformers that belongs to a model.

    Raises: ValueError for resize="model" where it makes pixels of a size that depends on the picture.
    """

    def __init__(self, processor: Any, resize: str, side: int | None = None) -> None:
        """`side`: of the square pixels of a tower that reads a list of patches, whose processor gives no square."""
        if side is not None:
            if resize != "squash":
                raise ValueError("resize: wanted 'squash' for a SigLIP 2 of any aspect ratio, given 'model'")
            from transformers import SiglipImageProcessor

            names = ("image_mean", "image_std", "resample", "rescale_factor")
            processor = SiglipImageProcessor(
                size={"height": side, "width": side}, **{name: getattr(processor, name) for name in names}
            )
        self._processor, self._squash = processor, {}
        self.size = tuple(self._pixels(Image.new("RGB", (64, 64))).shape[1:])
        described = json.loads(processor.to_json_string())
        self.settings = {name: described.get(name) for name in _SETTINGS}
        self.settings |= {"processor": type(processor).__name__, "resize_mode": resize}
        if resize == "squash":
            height, width = self.size
            self._squash = {"do_resize": True, "size": {"height": height, "width": width}, "do_center_crop": False}
        elif (given := self._pixels(Image.new("RGB", (128, 64))).shape[1:]) != self.size:
            raise ValueError(
                f"resize: wanted 'squash', as this model's processor makes {tuple(given)} pixels of a picture of 128 x "
                "64 and has no one size, given 'model'"
            )

    def __call__(self, image: Image.Image) -> Float[Tensor, "3 rows columns"]:
        """Raises ValueError for a strip so thin that resizing its shorter side would fill the memory."""
        if not self._squash and "shortest_edge" in (self.settings["size"] or {}):
            refuse_strip(image, self.size)
        return self._pixels(image)

    def _pixels(self, image: Image.Image) -> Tensor:
        return self._processor(image, return_tensors="pt", **self._squash)["pixel_values"][0]


def _load(name: str) -> tuple[nn.Module, Any]:
    import transformers

    refuse_conversion()
    refuse_pointers(Path(name), "*.json", "*.safetensors", "*.bin")
    try:
        config = transformers.AutoConfig.from_pretrained(name, trust_remote_code=False)
        if config.model_type not in _CLASSES:
            raise UnloadableTower(f"{name}: type of an image tower: {wanted_one_of(_CLASSES, config.model_type)}")
        read = getattr(transformers, _CLASSES[config.model_type])
        own = {"add_pooling_layer": False} if config.model_type == "vit" else {}
        report: dict[str, Any] = {}

        def build() -> nn.Module:
            options = {"dtype": torch.float32, "output_loading_info": True, "ignore_mismatched_sizes": True}
            network, found = read.from_pretrained(name, **options, **own)
            report.update(found)
            return network

        with quiet_report():
            network = without_moving_random(build)
        processor = transformers.AutoImageProcessor.from_pretrained(name, trust_remote_code=False)
    except UnloadableTower:
        raise
    except Exception as error:  # third parties raise what they like on a stranger's files
        reason = reason_of(error)
        raise UnloadableTower(
            f"{name}: wanted a folder with config.json, weights and preprocessor_config.json, or a model name that the "
            f"hub or the local cache has (HF_HUB_OFFLINE=1 asks the cache alone). {reason}"
        ) from error
    wrong = [*report["missing_keys"], *(key for key, *_ in map(tuple, report["mismatched_keys"]))]
    if wrong:
        raise UnloadableTower(
            f"{name}: wanted files with every weight of a {type(network).__name__}, given files where "
            f"{listed(sorted(wrong), show=3)} are missing or of another shape"
        )
    if given := check_finite(network.state_dict()):
        raise UnloadableTower(f"{name}: wanted finite weights, given {given}: download the model again")
    return network, processor


@contextlib.contextmanager
def _kept(block: nn.Module, found: dict[int, Tensor], place: int) -> Iterator[None]:
    """While it lasts, what the block gives is kept in `found`."""

    def keep(module: nn.Module, given: Any, out: Any) -> None:
        found[place] = out[0] if isinstance(out, tuple) else out

    handle = block.register_forward_hook(keep)
    try:
        yield
    finally:
        handle.remove()


def _blocks(network: nn.Module) -> nn.ModuleList:
    """The network's transformer blocks, whatever the class calls them."""
    number = network.config.num_hidden_layers
    return next(each for each in network.modules() if isinstance(each, nn.ModuleList) and len(each) == number)


def _final_norm(network: nn.Module) -> nn.Module:
    norms = {name: each for name, each in network.named_modules() if isinstance(each, nn.LayerNorm)}
    names = sorted(norms, key=lambda name: name.count("."))
    return next(norms[name] for last in _NORMS for name in names if name.rpartition(".")[2] == last)


def _side(config: Any) -> int:
    """Of the square whose patches are as many as the positions that were learned."""
    return math.isqrt(config.num_patches) * config.patch_size
