"""A frozen CLIP image tower of open_clip, read at one of its layers as a grid of patches.

    pixels [batch, 3, h, w] -> tower, layer k [batch, c, rows, columns] -> pooling -> [batch, patch, width]

Parity preset of the CLIP-T5 recipe (36 patches of width 2048, after the last ReLU):

    FrozenClip.load("RN101", "openai", layer=4, pooling="max", pool_size=6, resize="squash")
"""

import hashlib
import json
import math
import os
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dept_vl.embedded import embedded
from dept_vl.registry import did_you_mean
from dept_vl.vision.clip_files import UnloadableClip, check_files, check_tower, shorten
from dept_vl.vision.pooling import check_pooling, pool_grid
from dept_vl.vision.preprocess import Preprocess

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

_WANTED = (
    "wanted an open_clip name with its tag, such as 'RN101' and 'openai', 'hf-hub:ORG/REPO', or "
    "'local-dir:FOLDER' with open_clip_config.json and open_clip_model.safetensors"
)

_THREADS = "TOKENIZERS_PARALLELISM"


class FrozenClip(nn.Module):
    """The image tower alone: no gradients, always in evaluation mode, untouched by autocast.

    Attributes: num_patches, width (of one patch after pooling), preprocess (picklable by itself).
    """

    def __init__(
        self,
        tower: nn.Module,
        preprocess: Preprocess,
        *,
        layer: int,
        pooling: str,
        pool_size: int | None = None,
        dtype: str = "float32",
        source: dict[str, Any] | None = None,
    ) -> None:
        """`tower` is a `visual` module of open_clip in fp32; `source` is merged into `identity()`."""
        super().__init__()
        check_pooling(pooling, pool_size)
        if dtype not in DTYPES:
            raise ValueError(f"dtype: wanted one of {', '.join(DTYPES)}, given {dtype!r}")
        self.tower = tower.requires_grad_(False)
        self.preprocess = preprocess
        self.pooling, self.pool_size = pooling, pool_size
        self.train(False)
        self._source = {**(source or {}), "vision_weights_sha256": _hash_tensors(tower)}
        self._arguments = _intermediates_arguments(tower)
        self.layer, self.num_patches, self.width = self._measure(layer)
        self.tower.to(DTYPES[dtype])

    @classmethod
    def load(
        cls,
        name: str,
        pretrained: str | None = None,
        *,
        layer: int,
        pooling: str,
        resize: str,
        pool_size: int | None = None,
        dtype: str = "float32",
        random_weights: bool = False,
    ) -> "FrozenClip":
        """Load a tower; weights stored as fp16 or bf16 become fp32, then `dtype`, in which the tower runs.

        Args:
            name: 'tiny-clip' (embedded), an open_clip model name, 'hf-hub:ORG/REPO' or 'local-dir:FOLDER'.
            pretrained: the tag or weights file for a plain name; the other two bring their own weights.
            layer: index into the tower's intermediates, negative from the end. ResNets: 0 is the stem and
                1 to 4 the stages; transformers: 0 is the first block. Transformer patches go through the
                tower's final layer norm (not its output projection); ResNet grids are as they come.
            pooling, pool_size: see `pool_grid`.
            resize: "squash" or "model", see `Preprocess`.
            random_weights: build the tower untrained (always the same weights) instead of loading any.

        Raises:
            UnloadableClip: no such model, tag, folder or weights; a plain name without a tag.
            ValueError: a layer that the tower does not have, or a pooling that its grid does not allow.
        """
        check_pooling(pooling, pool_size)
        folder = embedded(name)
        place = f"local-dir:{folder}" if folder else name
        _check_source(place, pretrained, random_weights)
        model, config = _create(place, pretrained, random_weights)
        source = {
            "vision_model_name": name,
            "vision_pretrained": pretrained,
            "vision_config_sha256": hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest(),
        }
        preprocess = Preprocess(model.visual.preprocess_cfg, resize)
        return cls(
            model.visual, preprocess, layer=layer, pooling=pooling, pool_size=pool_size, dtype=dtype, source=source
        )

    @property
    def device(self) -> torch.device:
        return next(self.tower.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.tower.parameters()).dtype

    def train(self, mode: bool = True) -> "FrozenClip":
        """Stays in evaluation mode whatever is asked, so that batch statistics never move."""
        return super().train(False)

    @torch.no_grad()
    def grid(self, pixels: Float[Tensor, "batch 3 rows columns"]) -> Float[Tensor, "batch patch width"]:
        """Preprocessed pixels, on any device, to patches in row-major order, in the tower's dtype.

        Raises:
            ValueError: pixels of another size than `preprocess` makes.
        """
        if tuple(pixels.shape[2:]) != self.preprocess.size:
            wanted, given = self.preprocess.size, tuple(pixels.shape[2:])
            raise ValueError(
                f"pixels: wanted {wanted[0]} x {wanted[1]}, as clip.preprocess makes them, "
                f"given {given[0]} x {given[1]}"
            )
        pixels = pixels.to(self.device, self.dtype, non_blocking=True)
        pooled = pool_grid(self._intermediates(pixels, [self.layer])[0], self.pooling, self.pool_size)
        return pooled.flatten(2).transpose(1, 2).contiguous()  # [batch, patch, width]

    forward = grid

    def identity(self) -> dict[str, Any]:
        """What the features depend on, as a JSON object."""
        return {
            **self._source,
            "vision_feature_layer": self.layer,
            "vision_normalized": self._arguments["normalize_intermediates"],
            "vision_pooling": self.pooling,
            "vision_pool_size": self.pool_size,
            "vision_dtype": str(self.dtype).removeprefix("torch."),
            "preprocessing": self.preprocess.settings,
        }

    def _intermediates(self, pixels: Tensor, indices: list[int] | None) -> list[Tensor]:
        # Stored features and features made inside an autocast region of the trainer must be the same.
        with torch.autocast(pixels.device.type, enabled=False):
            found = self.tower.forward_intermediates(
                pixels, indices=indices, intermediates_only=True, output_fmt="NCHW", **self._arguments
            )
        return found["image_intermediates"]

    @torch.no_grad()
    def _measure(self, layer: int) -> tuple[int, int, int]:
        """The layer counted from the front, the number of patches and their width, from one empty picture."""
        grids = self._intermediates(torch.zeros(1, 3, *self.preprocess.size, device=self.device), None)
        if not -len(grids) <= layer < len(grids):
            raise ValueError(f"layer: wanted {-len(grids)} to {len(grids) - 1} for this tower, given {layer}")
        pooled = pool_grid(grids[layer], self.pooling, self.pool_size)
        return layer % len(grids), math.prod(pooled.shape[2:]), pooled.shape[1]


def _check_source(name: str, pretrained: str | None, random_weights: bool) -> None:
    own_weights = name.startswith(("hf-hub:", "local-dir:"))
    if random_weights and pretrained is not None:
        raise UnloadableClip(f"CLIP {name!r}: random_weights=True wants no tag, given {pretrained!r}")
    if own_weights and pretrained is not None:
        raise UnloadableClip(f"CLIP {name!r} brings its own weights: wanted no tag, given {pretrained!r}")
    if not (own_weights or pretrained or random_weights):
        raise UnloadableClip(
            f"CLIP {name!r} without a tag would have random weights: {_WANTED}; "
            "random_weights=True if that is what you want"
        )


def _create(name: str, pretrained: str | None, random_weights: bool) -> tuple[nn.Module, dict[str, Any]]:
    """The whole CLIP in fp32 on the CPU, and the part of its config that shapes the image tower."""
    threads = os.environ.get(_THREADS)
    import open_clip  # 2 s and much memory, which readers of stored features are spared

    if threads is None:  # its import switches off the threads of everybody's tokenizers
        os.environ.pop(_THREADS, None)
    own_weights = name.startswith(("hf-hub:", "local-dir:"))
    key = name if own_weights else name.replace("/", "-")
    if not own_weights and key not in open_clip.list_models():
        raise UnloadableClip(
            f"CLIP {name!r} is no open_clip model: {_WANTED}." + did_you_mean(key, open_clip.list_models())
        )
    # OpenAI's towers were trained with QuickGELU; plain configs leave it out, and open_clip only warns.
    tag = open_clip.get_pretrained_cfg(key, pretrained) if pretrained else {}
    quick_gelu = bool(tag.get("quick_gelu", False))
    check_files(name, pretrained, "*.json")
    try:
        with torch.random.fork_rng(devices=[]):  # building draws weights: the caller's stream must not move
            torch.default_generator.manual_seed(0)
            model = open_clip.create_model(
                key,
                pretrained=pretrained,
                precision="fp32",
                load_weights=not random_weights,
                require_pretrained=not random_weights,
                force_quick_gelu=quick_gelu,
                pretrained_text=False,
            )
        config = open_clip.get_model_config(key)
    except Exception as error:  # files, network and state dicts fail in many ways, all for the caller to see
        check_files(name, pretrained, "*.safetensors", "*.bin", "*.pt*")
        given = f"CLIP {name!r}, tag {pretrained!r}, where loading failed with: {shorten(error)}"
        raise UnloadableClip(f"{given}. Wanted{_WANTED.removeprefix('wanted')}") from error
    if not random_weights:
        check_tower(name, model.visual)
    shaping = {field: config.get(field) for field in ("embed_dim", "vision_cfg")}
    return model, {**shaping, "quick_gelu": quick_gelu or bool(config.get("quick_gelu", False))}


def _intermediates_arguments(tower: nn.Module) -> dict[str, bool]:
    """How to ask this tower for a layer's grid: normalised if it has a norm for patches, no later block."""
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.transformer import VisionTransformer

    # open_clip 3.3 reads stop_early the wrong way round in ModifiedResNet.
    is_resnet = isinstance(tower, ModifiedResNet)
    # With an attentional pooler (CoCa) ln_post belongs behind it and has another width.
    pooled = isinstance(tower, VisionTransformer) and tower.attn_pool is not None
    return {"stop_early": not is_resnet, "normalize_intermediates": not (is_resnet or pooled)}


def _hash_tensors(module: nn.Module) -> str:
    """sha256 over name, dtype, shape and bytes of every tensor, in the order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        tensor = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
