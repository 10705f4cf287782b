"""Run CLIP once per image and store its features in a folder named by their content.

    folder/hashes.json                      remembered hashes of image files
    folder/<address>/0-1024.safetensors     the images 0 to 1023 of the sorted list, and so on
    folder/<address>/manifest.json          written last: without it the extraction has not finished

The address is a hash of CLIP's weights, config, preprocessing, layer, pooling and dtype, of the stored
dtype, and of the list of images with the hash of each file. Where files and models lie is not in it.
"""

import errno
import hashlib
import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from tqdm import tqdm

from dept_vl.registry import DeptVLWarning
from dept_vl.untrusted.whole_files import remove_abandoned, write_whole
from dept_vl.vision.batches import Reasons, run_clip
from dept_vl.vision.clip import FrozenClip
from dept_vl.vision.features import (
    MANIFEST,
    STORED_DTYPES,
    DamagedStore,
    FeatureStore,
    ShardFile,
    open_shard,
    write_shard,
)
from dept_vl.vision.hashes import hash_files

Span = tuple[int, int]  # first image of the sorted list, and the one after the last
_NAMES = ("vision_model_name", "vision_pretrained")  # say where a model came from, not what it is


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


def extract(
    clip: FrozenClip,
    images: Mapping[str, Path],
    folder: Path,
    *,
    dtype: Literal["float16", "bfloat16"] = "float16",
    batch_size: int = 64,
    num_workers: int = 0,
    shard_size: int = 1024,
    progress: bool = False,
    on_unreadable: Literal["error", "report"] = "error",
    rank: int = 0,
    world: int = 1,
    gather: Callable[[Any], list[Any]] = lambda given: [given],
) -> FeatureStore:
    """The features of these images (key to file): found again when they exist, otherwise made and stored.

    The shards of a killed extraction are kept and used. The processes of one run, on machines that share the folder,
    make every `world`-th shard each; `rank` 0 looks for the store, writes its manifest and reports unreadable images.
    Several runs may extract the same list at once: each does the whole work and no file is ever half-written.

    Args:
        folder: holds the stores; this one goes to a sub-folder named by its address.
        on_unreadable: "error" tries every image, then refuses the list; "report" stores the readable ones and warns;
            `unreadable` has the others with reasons.
        gather: what each process of the run gives it, by rank, for all of them; all call it equally often.

    Raises:
        UnreadableImages: with "error", or when no image is readable.
        UnstorableFeatures: features beyond the range of `dtype`, or not a number.
        OSError: a full disk (no half-written file stays), or a read-only folder that holds no store.
    """
    if not images:
        raise ValueError("extract: wanted at least one image, given none")
    refuse_read_only(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files, address, store = sorted(images.items()), None, None
    if rank == 0:
        hashes = hash_files(images, folder / "hashes.json", num_threads=num_workers, progress=progress)
        address = _address(clip.identity(), dtype, [(key, hashes[key]) for key, _ in files])
        store = _find(folder / address[:20])
    address, found = gather((address, store is not None))[0]
    place = folder / address[:20]
    if not found:
        place.mkdir(exist_ok=True)
        remove_abandoned(place)
        spans = [(start, min(start + shard_size, len(files))) for start in range(0, len(files), shard_size)]
        sizes = (STORED_DTYPES[dtype], batch_size, num_workers, progress)
        share = _make_shards(clip, files, spans[rank::world], place, address, *sizes)
        shards = dict(sorted(made for each in gather(share) for made in each.items()))
        if rank == 0:
            reasons = {key: reason for shard in shards.values() for key, reason in shard.unreadable.items()}
            _refuse(reasons, len(files), on_unreadable)
            _write_manifest(place, address, dtype, clip, shards, reasons)
            store = FeatureStore.open(place)
    if store is not None:
        _refuse(store.unreadable, len(files), on_unreadable)
        _warn(store)
    gather(None)  # no process goes on with what the first one refuses
    return FeatureStore.open(place) if store is None else store


def refuse_read_only(folder: Path) -> None:
    """Raises: PermissionError for a folder that can neither be written nor holds a store to be read."""
    there = next(each for each in (folder, *folder.parents) if each.exists())
    if not os.access(there, os.W_OK) and not any(folder.glob(f"*/{MANIFEST}")):
        what = f"wanted a folder that can be written, for the feature stores in {folder}"
        raise PermissionError(errno.EACCES, what, str(there))


def _address(identity: dict[str, Any], dtype: str, hashes: Sequence[tuple[str, str | None]]) -> str:
    content = {field: value for field, value in identity.items() if field not in _NAMES}
    return hashlib.sha256(json.dumps([content, dtype, hashes], sort_keys=True).encode()).hexdigest()


def _find(place: Path) -> FeatureStore | None:
    if not (place / MANIFEST).exists():
        return None
    try:
        return FeatureStore.open(place)
    except DamagedStore as error:
        warnings.warn(f"making the damaged part of a feature store anew: {error}", DeptVLWarning, stacklevel=3)
        return None


def _refuse(reasons: Reasons, total: int, on_unreadable: str) -> None:
    if reasons and (on_unreadable == "error" or len(reasons) == total):
        raise UnreadableImages(reasons, total)


def _warn(store: FeatureStore) -> None:
    if store.unreadable:
        hint = f" and not in the feature store {store.folder} (delete it to try them again)"
        total = len(store) + len(store.unreadable)
        warnings.warn(str(UnreadableImages(store.unreadable, total, hint)), DeptVLWarning, stacklevel=3)


def _make_shards(
    clip: FrozenClip,
    files: list[tuple[str, Path]],
    spans: list[Span],
    place: Path,
    address: str,
    dtype: torch.dtype,
    batch_size: int,
    num_workers: int,
    progress: bool,
) -> dict[Span, ShardFile]:
    """The header of each of these shards."""
    shape = (clip.num_patches, clip.width)
    finished = {span: _read_finished(place / _shard_name(span), address, shape) for span in spans}
    missing = [span for span in spans if finished[span] is None]
    total = sum(stop - start for start, stop in missing)
    with tqdm(total=total, desc="CLIP features", unit="img", disable=not progress) as bar:
        batches = run_clip(clip, files, missing, batch_size, num_workers, dtype)
        for start, stop in missing:
            features = torch.empty(stop - start, *shape, dtype=dtype)
            keys: list[str] = []
            unreadable: Reasons = {}
            seen = start
            while seen < stop:
                batch_keys, batch_features, reasons = next(batches)
                features[len(keys) : len(keys) + len(batch_keys)] = batch_features
                keys += batch_keys
                unreadable |= reasons
                seen += len(batch_keys) + len(reasons)
                bar.update(len(batch_keys) + len(reasons))
            path = place / _shard_name((start, stop))
            write_shard(path, features[: len(keys)], tuple(keys), unreadable, address)
            finished[start, stop] = ShardFile(address, tuple(keys), unreadable, path.stat().st_size)
    return {span: header for span, header in finished.items() if header is not None}


def _shard_name(span: Span) -> str:
    """A shard's share of the list is in its name, so that extractions with different shard sizes can never read each
    other's rows under a wrong key."""
    return f"{span[0]}-{span[1]}.safetensors"


def _read_finished(path: Path, address: str, shape: tuple[int, int]) -> ShardFile | None:
    if not path.exists():
        return None
    try:
        _, header = open_shard(path, address, shape)
    except DamagedStore as error:
        warnings.warn(f"making a damaged shard anew: {error}", DeptVLWarning, stacklevel=4)
        return None
    # Unreadable images are tried again: what kept a file from being read may have passed.
    return None if header.unreadable else header


def _write_manifest(
    place: Path, address: str, dtype: str, clip: FrozenClip, shards: dict[Span, ShardFile], unreadable: Reasons
) -> None:
    manifest = {
        "format": 1,
        "address": address,
        "dtype": dtype,
        "patch": clip.num_patches,
        "width": clip.width,
        "identity": clip.identity(),
        "unreadable": unreadable,
        "shards": [
            {"file": _shard_name(span), "bytes": shard.num_bytes, "keys": list(shard.keys)}
            for span, shard in shards.items()
        ],
    }
    write_whole(place / MANIFEST, json.dumps(manifest).encode())
