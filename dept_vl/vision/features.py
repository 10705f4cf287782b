"""The features of a run's images in a store: read lazily, by the images' keys."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dept_vl.registry import did_you_mean
from dept_vl.vision.shards import STORED_DTYPES, Place, ShardIndex, StoreFacts, open_shard, read_facts


class MissingFeatures(ValueError):
    """Image keys that have no features in a store."""


class FeatureStore:
    """What a store holds for some images. `keys` are those that could be read, sorted; `shape` is (patch, width);
    `unreadable` has the reasons of the others.

    A value to hand to worker processes: each opens the shards for itself when it first reads one.
    """

    def __init__(
        self, folder: Path, facts: StoreFacts, places: Mapping[str, Place], unreadable: Mapping[str, str] | None = None
    ) -> None:
        """`places`: the shard and the row of each key."""
        self.folder, self.facts = folder, facts
        self.shape: tuple[int, int] = (facts.patch, facts.width)
        self.dtype: torch.dtype = STORED_DTYPES[facts.dtype]
        self.unreadable: dict[str, str] = dict(unreadable or {})
        self._shards = sorted({name for name, _ in places.values()})
        numbers = {name: number for number, name in enumerate(self._shards)}
        self._places = {key: (numbers[name], row) for key, (name, row) in sorted(places.items())}
        self.keys: tuple[str, ...] = tuple(self._places)
        self._open_shards: dict[int, Any] = {}
        self._process = os.getpid()

    @classmethod
    def open(cls, folder: Path | str) -> "FeatureStore":
        """All that a store holds, by the sha256 of the images' files.

        Raises:
            DamagedStore: no store.json, or a shard that cannot be read.
        """
        folder = Path(folder)
        index = ShardIndex(folder, read_facts(folder))
        if index.damaged:
            raise next(iter(index.damaged.values()))
        return cls(folder, index.facts, index.places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open_shards": {}}

    def gather(self, keys: Sequence[str]) -> Float[Tensor, "batch patch width"]:
        """The features of these images in this order, a key as often as it stands there.

        Reads only the rows asked for. In the stored dtype (fp16 or bf16): the caller casts, after any
        transfer to another device.

        Raises:
            MissingFeatures: naming the keys that are not in the store.
            DamagedStore: a shard that was cut or removed meanwhile.
        """
        absent = [key for key in keys if key not in self._places]
        if absent:
            raise MissingFeatures(self._explain(absent, len(keys)))
        gathered = torch.empty(len(keys), *self.shape, dtype=self.dtype)
        for place, index in sorted((self._places[key], index) for index, key in enumerate(keys)):
            number, row = place
            gathered[index] = self._shard(number)[row]
        return gathered

    def resident(self) -> tuple[Float[Tensor, "image patch width"], dict[str, int]]:
        """The features of all keys in one tensor, in the stored dtype, and the row of each key.

        147,456 bytes an image with 36 patches of width 2048: 18.2 GB for the 123,287 images of COCO.
        """
        places = sorted(set(self._places.values()))
        table = torch.empty(len(places), *self.shape, dtype=self.dtype)
        start = 0
        while start < len(places):  # rows that follow one another are read together
            number, first = places[start]
            stop = start + 1
            while stop < len(places) and places[stop] == (number, first + stop - start):
                stop += 1
            table[start:stop] = self._shard(number)[first : first + stop - start]
            start = stop
        rows = {place: row for row, place in enumerate(places)}
        return table, {key: rows[place] for key, place in self._places.items()}

    def _shard(self, number: int) -> Any:
        if self._process != os.getpid():  # forked: the parent's handles are not ours
            self._open_shards, self._process = {}, os.getpid()
        if number not in self._open_shards:
            self._open_shards[number], _ = open_shard(self.folder / self._shards[number], self.facts)
        return self._open_shards[number]

    def _explain(self, absent: list[str], wanted: int) -> str:
        key = absent[0]
        if key in self.unreadable:
            why = f" {key!r} was unreadable: {self.unreadable[key]}."
        else:
            why = did_you_mean(key, self.keys[:10_000])
        names = ", ".join(repr(name) for name in absent[:10])
        return (
            f"{len(absent)} of {wanted} images are not among the {len(self):,} of the feature store "
            f"{self.folder}: {names}{', ...' if len(absent) > 10 else ''}.{why}"
        )
