"""Run a tower once per image and store its features: one store for each tower, whatever images a run needs.

    folder/hashes.json                         remembered hashes of image files
    folder/<address>/store.json                what the store is of
    folder/<address>/<rows>.safetensors        features of some images, see `shards`

The address is a hash of the tower's weights, config, preprocessing, layers, pooling and dtype, and of the stored dtype;
where models and images lie is not in it. A row is found by the sha256 of its image's file, so a run extracts what no
run before it has, under whatever name and in whatever list.
"""

import errno
import json
import math
import multiprocessing
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from tqdm import tqdm

from dept_vl.registry import DeptVLWarning
from dept_vl.untrusted.images import UnreadableImage, open_image
from dept_vl.untrusted.whole_files import remove_abandoned
from dept_vl.vision.batches import Reasons, run_tower
from dept_vl.vision.features import FeatureStore
from dept_vl.vision.hashes import hash_files, hash_json
from dept_vl.vision.remembered import RememberedTower
from dept_vl.vision.shards import DESCRIPTION, STORED_DTYPES, ShardIndex, StoreFacts, write_facts, write_shard
from dept_vl.vision.tower import CPU_PIXELS, Tower

MANY = 128  # missing images of a process, for which workers are worth starting
_FORMAT = 2  # of the files; another one is another address
_NAMES = ("vision_model_name", "vision_pretrained", "vision_weights_file")  # where a model came from, not what it is


class UnreadableImages(ValueError):
    """Images of a list that cannot be read. `reasons` has them all; the message names the first ten."""

    def __init__(self, reasons: Reasons, total: int, hint: str = "") -> None:
        super().__init__(reasons, total, hint)
        self.reasons = reasons

    def __str__(self) -> str:
        reasons, total, hint = self.args
        first = [f"\n  {key}: {reason}" for key, reason in list(reasons.items())[:10]]
        more = [f"\n  ... and {len(reasons) - 10} more"] if len(reasons) > 10 else []
        return f"{len(reasons)} of {total} images are unreadable{hint}:{''.join(first + more)}"


class Missing(NamedTuple):
    """An image whose features no shard holds: the sha256 of its file, and one of the keys that name it."""

    sha256: str
    key: str


def extract(
    tower: Tower | RememberedTower,
    images: Mapping[str, Path],
    folder: Path,
    *,
    dtype: Literal["float16", "bfloat16"] = "float16",
    batch_size: int | None = None,
    num_workers: int | None = 0,
    shard_size: int = 1024,
    progress: bool = False,
    on_unreadable: Literal["error", "report"] = "error",
    rank: int = 0,
    world: int = 1,
    gather: Callable[[Any], list[Any]] = lambda given: [given],
) -> FeatureStore:
    """The features of these images (key to file), extracted where the tower's store does not hold them.

    The missing images are taken in the order of their hashes, `shard_size` at a time; a kill loses the shard at work.
    The processes of one run, on machines that share the folder, make every `world`-th shard each; `rank` 0 looks for
    what is missing and reports unreadable images. Several runs may extract into one store at once: each leaves out what
    another has published meanwhile, and no file is ever half-written.

    Args:
        folder: holds the stores; this tower's is a sub-folder named by its address.
        batch_size: images of one pass through the tower, on a CPU at most CPU_PIXELS; None is the tower's own.
        num_workers: processes that decode images; None is one for each core of this process,
            where MANY are missing and the system forks processes.
        on_unreadable: "error" tries every image, then refuses the list; "report" stores the readable ones and warns;
            `unreadable` has the others with reasons. They are tried again each time.
        gather: what each process of the run gives it, by rank, for all of them; all call it equally often.

    Raises:
        UnreadableImages: with "error", or when no image is readable.
        UnstorableFeatures: features beyond the range of `dtype`, or not a number.
        OSError: a full disk (no half-written file stays), or a read-only folder that lacks features.
    """
    if not images:
        raise ValueError("extract: wanted at least one image, given none")
    refuse_read_only(folder)
    folder.mkdir(parents=True, exist_ok=True)
    facts = describe(tower, dtype)
    place = folder / facts.address[:20]
    hashes, missing, index = {}, None, None
    if rank == 0:
        threads = num_workers if num_workers is not None else _cores()
        hashes = hash_files(images, folder / "hashes.json", num_threads=threads, progress=progress)
        index = ShardIndex(place, facts)
        missing = _missing(hashes, index)
    missing = gather(missing)[0]
    unreadable: Reasons = {}
    if missing:
        index = index or ShardIndex(place, facts)
        if rank == 0:
            _prepare(place, facts, index)
        shards = [range(start, min(start + shard_size, len(missing))) for start in range(0, len(missing), shard_size)]
        tower = tower.built() if isinstance(tower, RememberedTower) else tower
        size = batch_size or tower.batch_size
        if tower.device.type == "cpu":
            size = min(size, max(1, CPU_PIXELS // math.prod(tower.preprocess.size)))
        num_workers = _workers(len(missing) // world, world) if num_workers is None else num_workers
        sizes = size, num_workers, progress
        share = _make_shards(tower, missing, images, shards[rank::world], index, *sizes)
        for names, reasons in gather(share):
            unreadable |= reasons
            for name in names if rank == 0 else ():
                index.add(name)
        if rank == 0:
            index.refresh()  # another run may have published some meanwhile
    store = None
    if rank == 0:
        store = _view(hashes, images, index, unreadable)
        if store.unreadable and (on_unreadable == "error" or not len(store)):
            raise UnreadableImages(store.unreadable, len(images))
        _warn(store)
    return gather(store)[0]  # no process goes on with what the first one refuses


def _workers(missing: int, world: int) -> int:
    """How many processes decode the images that this one misses. None where they are not forks: others import the
    caller's script anew, which not every script allows."""
    method = multiprocessing.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]
    return max(1, _cores() // world) if missing >= MANY and method == "fork" else 0


def _cores() -> int:
    """Of this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe(tower: Tower | RememberedTower, dtype: Literal["float16", "bfloat16"]) -> StoreFacts:
    """What a store of this tower's features says of itself."""
    identity = json.loads(json.dumps(tower.identity()))
    address = hash_json(["dept_vl features", _FORMAT, _content(identity), dtype])
    return StoreFacts(address, dtype, tower.num_patches, tower.width, identity)


def refuse_read_only(folder: Path) -> None:
    """Raises: PermissionError for a folder that can neither be written nor holds a store to be read."""
    there = next(each for each in (folder, *folder.parents) if each.exists())
    if not os.access(there, os.W_OK) and not any(folder.glob(f"*/{DESCRIPTION}")):
        what = f"wanted a folder that can be written, for the feature stores in {folder}"
        raise PermissionError(errno.EACCES, what, str(there))


def _content(identity: Mapping[str, Any]) -> dict[str, Any]:
    content = {field: value for field, value in identity.items() if field not in _NAMES}
    return content | ({"vision_second": _content(content["vision_second"])} if "vision_second" in content else {})


def _missing(hashes: Mapping[str, str | None], index: ShardIndex) -> list[Missing]:
    """Each image once, in the order of the hashes: the same images make the same shards, whatever their names."""
    keys: dict[str, str] = {}
    for key, sha256 in sorted(hashes.items()):
        if sha256 is not None and sha256 not in index.places:
            keys.setdefault(sha256, key)
    return [Missing(sha256, keys[sha256]) for sha256 in sorted(keys)]


def _prepare(place: Path, facts: StoreFacts, index: ShardIndex) -> None:
    place.mkdir(exist_ok=True)
    remove_abandoned(place)
    write_facts(place, facts)
    for error in index.damaged.values():
        message = f"making what this run needs of a damaged part of a feature store anew: {error}"
        warnings.warn(message, DeptVLWarning, stacklevel=4)


def _make_shards(
    tower: Tower,
    missing: list[Missing],
    images: Mapping[str, Path],
    shards: list[range],
    index: ShardIndex,
    batch_size: int,
    num_workers: int,
    progress: bool,
) -> tuple[list[str], Reasons]:
    """The files written, and the reasons of the images that could not be read, by hash."""
    begun: deque[list[int]] = deque()

    def batches() -> Iterator[list[int]]:
        for shard in shards:
            index.refresh()  # another run may have been here
            left = [number for number in shard if missing[number].sha256 not in index.places]
            if left:
                begun.append(left)
            yield from (left[start : start + batch_size] for start in range(0, len(left), batch_size))

    files, hashes = [(each.key, images[each.key]) for each in missing], {each.key: each.sha256 for each in missing}
    names: list[str] = []
    unreadable: Reasons = {}
    rows: list[str] = []
    parts: list[torch.Tensor] = []
    seen = 0
    dtype = STORED_DTYPES[index.facts.dtype]
    with tqdm(total=sum(map(len, shards)), desc="image features", unit="img", disable=not progress) as bar:
        for keys, features, reasons in run_tower(tower, files, batches(), num_workers, dtype):
            rows += [hashes[key] for key in keys]
            parts.append(features)
            unreadable |= {hashes[key]: reason for key, reason in reasons.items()}
            seen += len(keys) + len(reasons)
            bar.update(len(keys) + len(reasons))
            if seen == len(begun[0]):
                names += _publish(index, rows, torch.cat(parts))
                begun.popleft()
                rows, parts, seen = [], [], 0
    return names, unreadable


def _publish(index: ShardIndex, rows: list[str], features: torch.Tensor) -> list[str]:
    """Write the rows that no other run has published meanwhile; the file's name, or none where nothing was left."""
    index.refresh()
    left = [row for row, sha256 in enumerate(rows) if sha256 not in index.places]
    if not left:
        return []
    features = features if len(left) == len(rows) else features[left]
    name = write_shard(index.folder, features, [rows[row] for row in left], index.facts)
    index.add(name)
    return [name]


def _view(
    hashes: Mapping[str, str | None], images: Mapping[str, Path], index: ShardIndex, reasons: Reasons
) -> FeatureStore:
    """The store by the keys of a run's images. `reasons`: by hash."""
    places = {key: index.places[sha256] for key, sha256 in hashes.items() if sha256 in index.places}
    unreadable = {
        key: _why(images[key]) if hashes[key] is None else reasons.get(hashes[key], f"{images[key]}: has no features")
        for key in sorted(hashes)
        if key not in places
    }
    return FeatureStore(index.folder, index.facts, places, unreadable)


def _why(path: Path) -> str:
    """The reason why a file's bytes could not be read."""
    try:
        open_image(path)
    except UnreadableImage as error:
        return f"{error.path}: {error.reason}"
    return f"{path}: could not be read a moment ago"


def _warn(store: FeatureStore) -> None:
    if store.unreadable:
        hint = f" and not in the feature store {store.folder} (the next run tries them again)"
        total = len(store) + len(store.unreadable)
        warnings.warn(str(UnreadableImages(store.unreadable, total, hint)), DeptVLWarning, stacklevel=3)
