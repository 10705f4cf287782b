"""The keys and values of the images that a causal model reads before the text: computed once for all rows about one.

    [prompt; visual] of each image   ->   keys and values, picked for every row that names the image

An image is known by the key that its rows give, such as its file name; its columns decide whether it is still the same.
"""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from dept_vl.backbones.prompt_cache import MixedPrompts, PromptCache, cache_name, compute_type

Layers = list[tuple[Tensor, Tensor]]  # keys and values [image, heads, prefix, head_dim] of each layer
Prefixes = Float[Tensor, "rows prefix d_model"]


class SharedImages(NamedTuple):
    """length: how many columns, behind those that all rows share, are the same in rows about one image. keys: the image
    of each row."""

    length: int
    keys: tuple[Hashable, ...]


class ImageCache:
    """The images of the last call are kept for the next one, so rows should come image by image.

    `computed` counts the images that went through the model. A kept image is used where its columns are still the same
    up to rounding, since a product of matrices rounds a row by the size of its batch: to 1e-5 in fp32, a step in bf16.
    """

    def __init__(self) -> None:
        self.computed = 0
        self.drop()

    def drop(self) -> None:
        self._places: dict[Hashable, int] = {}  # of each kept image in the tensors
        self._prefixes: Tensor | None = None  # [image, prefix, d_model]
        self._precision: torch.dtype | None = None
        self._layers: Layers = []

    def expanded(
        self,
        model: PreTrainedModel,
        prefixes: Prefixes,
        images: SharedImages,
        prompts: PromptCache,
        *,
        repeats: int = 1,
        keep: bool = True,
    ) -> DynamicCache:
        """A cache of rows * repeats rows that holds each row's prefix; its last `images.length` columns are the
        image's. Call it without gradient and in evaluation mode.

        keep: use the images of the last call and keep those of this one. Without, the model reads images exactly once
        in every call, as processes must that hold a part of its weights each.

        Raises: MixedPrompts where rows about one image differ.
        """
        first: dict[Hashable, int] = {}  # the first row about each image
        for row, key in enumerate(images.keys):
            first.setdefault(key, row)
        places = {key: place for place, key in enumerate(first)}
        picked = torch.tensor([places[key] for key in images.keys], device=prefixes.device)  # [rows]
        own = prefixes[list(first.values())]  # [image, prefix, d_model]
        if not all(_alike(own[picked], prefixes, steps=16)):
            raise MixedPrompts(
                f"wanted the same first {prefixes.shape[1]} columns in all rows about one image, given others: "
                f"{len(images.keys)} rows about {len(places)} images"
            )
        if not keep or self._precision != compute_type(prefixes):
            self.drop()
        self._take(model, own, list(places), images.length, prompts)
        rows = picked.repeat_interleave(repeats)
        cache = DynamicCache([(key[rows], value[rows]) for key, value in self._layers])
        if not keep:
            self.drop()
        return cache

    def _take(
        self, model: PreTrainedModel, own: Prefixes, keys: Sequence[Hashable], length: int, prompts: PromptCache
    ) -> None:
        """Keep these images and no others; those that were kept are not computed again."""
        kept = self._still(own, keys)  # of some of the images: where they are kept
        new = [place for place in range(len(keys)) if place not in kept]
        numbers = list(kept.values())
        layers = [(key[numbers], value[numbers]) for key, value in self._layers]
        if new:
            read = _read(model, own[new], length, prompts)
            self.computed += len(new)
            if kept:
                read = [tuple(map(torch.cat, zip(*pair, strict=True))) for pair in zip(layers, read, strict=True)]
            layers = read
        order = torch.tensor([*kept, *new], device=own.device).argsort()
        self._layers = [(key[order], value[order]) for key, value in layers]
        self._places = {key: place for place, key in enumerate(keys)}
        columns = own.detach().clone()
        if kept:  # what they were computed from, or the differences would add up from call to call
            columns[list(kept)] = self._prefixes[numbers]
        self._prefixes, self._precision = columns, compute_type(own)

    def _still(self, own: Prefixes, keys: Sequence[Hashable]) -> dict[int, int]:
        """The places of the images that are kept and still the same, each with where it is kept."""
        kept = self._prefixes
        if kept is None or (kept.dtype, kept.device, kept.shape[1:]) != (own.dtype, own.device, own.shape[1:]):
            return {}
        known = {place: self._places[key] for place, key in enumerate(keys) if key in self._places}
        same = _alike(kept[list(known.values())], own[list(known)])
        return {place: number for (place, number), alike in zip(known.items(), same, strict=True) if alike}


def _read(model: PreTrainedModel, prefixes: Prefixes, length: int, prompts: PromptCache) -> Layers:
    """Each image behind the columns that all of them share."""
    name, shared = cache_name(model), prefixes.shape[1] - length
    past = {name: prompts.expanded(model, prefixes[:, :shared])} if shared else {}
    read = model(
        inputs_embeds=prefixes[:, shared:],
        attention_mask=torch.ones(prefixes.shape[:2], dtype=torch.int64, device=prefixes.device),
        position_ids=torch.arange(shared, prefixes.shape[1], device=prefixes.device).expand(len(prefixes), -1),
        use_cache=True,
        logits_to_keep=1,
        **past,
    )
    return [(layer.keys, layer.values) for layer in read[name].layers]


def _alike(kept: Prefixes, given: Prefixes, *, steps: int = 1) -> list[bool]:
    """Of each row, whether nothing but rounding is between the two: so many steps of what computed them."""
    step = steps * max(1e-5, torch.finfo(compute_type(given)).eps)
    kept, given = kept.float(), given.float()
    limit = step * (kept.abs() + kept.abs().mean(2, keepdim=True))  # of a token's own size
    return ((kept - given).abs() <= limit).all(2).all(1).tolist()
