"""The image side of a run: the tower read once, its features kept, their examples found again."""

import dataclasses
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from jaxtyping import Float
from torch import Tensor

from dept_vl.config import BadConfig, Experiment
from dept_vl.data.batches import Gather
from dept_vl.data.sources import Loaded
from dept_vl.vision import TOWER_SETTINGS, FeatureStore, Tower, build_tower, extract
from dept_vl.vision.remembered import RememberedTower, facts_of, find_tower


@dataclasses.dataclass(frozen=True)
class StoredImages:
    """What a run keeps of the tower: the features of its images, and what they are."""

    loaded: dict[Hashable, Loaded]  # without the examples whose image could not be read
    gather: Gather
    identity: dict[str, Any]
    width: int
    num_patches: int
    weights: int

    def sample(self, role: str, number: int = 512) -> Float[Tensor, "picture patch width"]:
        """The features of a role's first pictures by name."""
        keys = {each.image for (_, own), split in self.loaded.items() if own == role for each in split.examples}
        return self.gather(sorted(keys)[:number])


def store_images(config: Experiment, loaded: Mapping[Hashable, Loaded], accelerator: Accelerator) -> StoredImages:
    if config.vision.resident and accelerator.device.type == "cuda" and config.dataloader_num_workers:
        raise BadConfig(
            "vision.resident: features on the GPU cannot be read by worker processes; wanted vision.resident false or "
            f"dataloader_num_workers 0, given {config.dataloader_num_workers}"
        )
    tower = find_tower(tower_settings(config), Path(config.vision.feature_dir), batch_size=config.vision.batch_size)
    store = features(config, tower, loaded.values(), accelerator)
    seen = {role: with_features(each, store) for role, each in loaded.items()}
    gather = Resident(store, accelerator.device) if config.vision.resident else store.gather
    facts = tower if isinstance(tower, RememberedTower) else facts_of(tower)
    return StoredImages(seen, gather, tower.identity(), tower.width, tower.num_patches, facts.weights)


def tower_settings(config: Experiment) -> dict[str, Any]:
    return {name: getattr(config.vision, name) for name in TOWER_SETTINGS}


def load_tower(config: Experiment) -> Tower:
    return build_tower(tower_settings(config), batch_size=config.vision.batch_size)


def features(
    config: Experiment, tower: Tower | RememberedTower, loaded: Iterable[Loaded], accelerator: Accelerator
) -> FeatureStore:
    """The features of all images of these splits, each process extracting its share unless they are there."""
    vision = config.vision
    images = {key: path for each in loaded for key, path in each.image_paths.items()}
    return extract(
        tower.to(accelerator.device),
        images,
        Path(vision.feature_dir),
        dtype=vision.dtype,
        num_workers=vision.num_workers,
        progress=config.progress and accelerator.is_main_process,
        on_unreadable=vision.on_unreadable,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
        gather=lambda given: gather_object([given]),
    )


class Resident:
    """A store's features in one tensor on the device: a gather of rows, no reading."""

    def __init__(self, store: FeatureStore, device: torch.device) -> None:
        table, self._rows = store.resident()
        self._table = table.to(device)

    def __call__(self, keys: Sequence[str]) -> Float[Tensor, "batch patch width"]:
        rows = torch.tensor([self._rows[key] for key in keys], device=self._table.device)
        return self._table.index_select(0, rows)


def with_features(loaded: Loaded, store: FeatureStore) -> Loaded:
    """Without the examples whose image was unreadable; `counts` says how many."""
    examples = [example for example in loaded.examples if example.image in store]
    lost = len(loaded.examples) - len(examples)
    if not lost:
        return loaded
    if not examples:
        raise BadConfig(f"wanted at least one example with a readable image, given none of {lost}")
    return dataclasses.replace(loaded, examples=examples, counts={**loaded.counts, "dropped_unreadable_image": lost})
