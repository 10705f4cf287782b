"""A frozen CLIP image tower of open_clip.

Parity preset of the CLIP-T5 recipe (36 patches of width 2048, after the last ReLU):

    FrozenClip.load("RN101", "openai", layer=4, pooling="max", pool_size=6, resize="squash")
"""

import os
from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from dept_vl.embedded import embedded
from dept_vl.registry import did_you_mean
from dept_vl.vision.clip_files import UnloadableClip, check_files, check_tower, shorten
from dept_vl.vision.hashes import hash_json
from dept_vl.vision.pooling import check_pooling
from dept_vl.vision.preprocess import Preprocess
from dept_vl.vision.tower import FrozenTower, without_moving_random

_WANTED = (
    "wanted an open_clip name with its tag, such as 'RN101' and 'openai', 'hf-hub:ORG/REPO', or "
    "'local-dir:FOLDER' with open_clip_config.json and open_clip_model.safetensors"
)

_THREADS = "TOKENIZERS_PARALLELISM"


class FrozenClip(FrozenTower):
    """The image tower of a CLIP of open_clip alone; see `Tower`."""

    kind = "open_clip"

    @classmethod
    def load(
        cls,
        name: str,
        pretrained: str | None = None,
        *,
        layer: int | Sequence[int],
        pooling: str,
        resize: str,
        pool_size: int | None = None,
        joined: str = "width",
        dtype: str = "float32",
        random_weights: bool = False,
    ) -> "FrozenClip":
        """Load a tower; weights stored as fp16 or bf16 become fp32, then `dtype`, in which the tower runs.

        Args:
            name: 'tiny-clip' (embedded), an open_clip model name, 'hf-hub:ORG/REPO' or 'local-dir:FOLDER'.
            pretrained: the tag or weights file for a plain name; the other two bring their own weights.
            layer: index into the tower's intermediates, negative from the end, or several. ResNets: 0 is the stem and
                1 to 4 the stages; transformers: 0 is the first block. Transformer patches go through the
                tower's final layer norm (not its output projection); ResNet grids are as they come.
            pooling, pool_size, joined: see `pool_grid` and `join_grids`.
            resize: "squash" or "model", see `Preprocessing`.
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
            "vision_config_sha256": hash_json(config),
        }
        preprocess = Preprocess(model.visual.preprocess_cfg, resize)
        reading = {"layer": layer, "pooling": pooling, "pool_size": pool_size, "joined": joined, "dtype": dtype}
        return cls(model.visual, preprocess, source=source, **reading)

    @property
    def normalized(self) -> bool:
        return _intermediates_arguments(self.tower)["normalize_intermediates"]

    def maps(
        self, pixels: Float[Tensor, "batch channels rows columns"], layers: list[int] | None
    ) -> list[Float[Tensor, "batch _width _rows _columns"]]:
        found = self.tower.forward_intermediates(
            pixels, indices=layers, intermediates_only=True, output_fmt="NCHW", **_intermediates_arguments(self.tower)
        )
        return found["image_intermediates"]


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
        model = without_moving_random(
            lambda: open_clip.create_model(
                key,
                pretrained=pretrained,
                precision="fp32",
                load_weights=not random_weights,
                require_pretrained=not random_weights,
                force_quick_gelu=quick_gelu,
                pretrained_text=False,
            )
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
