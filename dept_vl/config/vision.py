"""The settings of the image side: the frozen tower, its stored features and the trained projection."""

import dataclasses
from typing import Literal, TypedDict

Kind = Literal["open_clip", "transformers", "timm"]
Pooling = Literal["none", "max", "avg", "stack"]
Resize = Literal["squash", "model"]
Joined = Literal["width", "tokens"]


class SecondTower(TypedDict, total=False):
    kind: Kind
    model_name: str
    pretrained: str | None
    weights: str | None
    layer: int | list[int]
    pooling: Pooling
    pool_size: int | None
    resize: Resize
    joined: Joined


@dataclasses.dataclass(frozen=True)
class ProjectionConfig:
    """What brings a tower's features to the width of the language model.

    Args:
        name: linear, mlp, pixel_shuffle or resampler; docs/towers.md has each with its equation and count.
        args: the arguments of its constructor, such as {factor: 2}; docs/towers.md lists them.
    """

    name: str = "linear"
    args: dict[str, int | float | bool | None] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class VisionConfig:
    """The frozen tower and its stored features.

    Args:
        model_name: "tiny-clip" (embedded), an open_clip name, hf-hub:... or local-dir:...; a folder or hub name of
            transformers; a name of timm.
        kind: the library that the tower comes from: open_clip, transformers or timm.
        pretrained: the open_clip tag that belongs to a plain name, such as openai.
        weights: a file of weights for timm (.safetensors, or .pth with tensors alone); null for timm's own.
        layer: index of the tower's intermediate output that is read as a grid, or a list of them.
        joined: several layers side by side in one patch (width), or their patches one after the other (tokens).
        pooling: none, max or avg (to pool_size x pool_size), or stack (2 x 2 cells into one token).
        pool_size: side of the pooled grid, for max and avg.
        resize: squash (to a square, aspect ratio not kept) or model (the model's own preprocessing).
        second: a second tower, whose features join the first one's patch by patch: {kind, model_name, layer, ...} as
            above; the pooled grids have to agree. {} for none.
        projection: from features to visual tokens.
        projection_scale: scale of the visual tokens; null is the word embeddings' root mean square, 1 is CLIP-T5's.
        dtype: type of the stored features, float16 or bfloat16.
        feature_dir: where the feature stores lie.
        batch_size: images per pass through the tower; on a CPU at most 8 of 224 x 224, of other sizes
            as many pixels, which is faster there.
        num_workers: processes that read images while features are extracted; null is one for each core, or none for
            few images.
        resident: hold a split's features in memory on the device; false reads them from disk.
        on_unreadable: error (stop, naming the files) or report (leave them out, counted and named).
        token_order: in which the language model reads prompt, text and visual tokens. auto is prompt,text,visual for a
            seq2seq backbone (CLIP-T5's) and prompt,visual,text for a causal one; visual,prompt,text is LLaVA's.
    """

    model_name: str = "tiny-clip"
    kind: Kind = "open_clip"
    pretrained: str | None = None
    weights: str | None = None
    layer: int | list[int] = 4
    joined: Joined = "width"
    pooling: Pooling = "none"
    pool_size: int | None = None
    resize: Resize = "squash"
    second: SecondTower = dataclasses.field(default_factory=SecondTower)
    projection: ProjectionConfig = dataclasses.field(default_factory=ProjectionConfig)
    projection_scale: float | None = None
    dtype: Literal["float16", "bfloat16"] = "float16"
    feature_dir: str = "data/features"
    batch_size: int = 128
    num_workers: int | None = None
    resident: bool = True
    on_unreadable: Literal["error", "report"] = "error"
    token_order: Literal["auto", "prompt,text,visual", "prompt,visual,text", "visual,prompt,text"] = "auto"
