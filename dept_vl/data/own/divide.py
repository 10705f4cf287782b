"""Divide rows into train, val and test by the content of their images: none that is drawn is on two sides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dept_vl.data.own.collect import Row
from dept_vl.data.seeded_split import ROLES, BadShares, TooFewToSplit, check_shares, seeded_split, shared


def divide(
    rows: Mapping[str, list[Row]],
    shares: Sequence[float],
    image_paths: Mapping[str, Path],
    undivided: str,
    hashes: Path | None = None,
    *,
    num_threads: int = 1,
) -> tuple[dict[str, list[Row]], list[str]]:
    """Rows by train, val and test, and sentences about their sizes and about images that given splits share.

    rows: by split, or all of them under `undivided`. What has no val or test gets it out of train. shares: of the
    images (not of the rows). hashes: a file that remembers the images' hashes. num_threads: to hash them with.
    Raises: BadShares.
    """
    check_shares(shares)
    wanted = dict(zip(ROLES, shares, strict=True))
    given = {name: each for name, each in rows.items() if name != undivided}
    source = rows[undivided] if undivided in rows else given.get("train", [])
    drawn = [name for name in ROLES[1:] if name not in given and wanted[name] > 0] if source else []
    parts, content = dict(given), {}
    if drawn or len(given) > 1:
        images = {key: image_paths[key] for each in rows.values() for key in _images(each)}
        content = _contents(images, hashes, num_threads)
    if drawn:
        parts |= _draw(source, {name: wanted[name] for name in ("train", *drawn)}, content)
    elif source:
        parts["train"] = source
    parts = {name: parts[name] for name in ROLES if name in parts}
    sizes = ", ".join(
        f"{name} {_counted(len(each), 'row')} of {_counted(len(_images(each)), 'image')}"
        for name, each in parts.items()
    )
    how = "as given" if not drawn else f"{', '.join(drawn)} drawn by image out of {'train' if given else 'all'}"
    sides = {name: {content[key]: key for key in sorted(_images(each))} for name, each in parts.items() if content}
    return parts, [f"{sizes} ({how})", *shared(sides, "images")]


def _draw(rows: Iterable[Row], shares: Mapping[str, float], content: Mapping[str, str]) -> dict[str, list[Row]]:
    """Raises: BadShares for fewer different images than sides."""
    rows = list(rows)
    try:
        sides = seeded_split([content[row["image"]] for row in rows], shares)
    except TooFewToSplit as error:
        ways = "give files named by their split, or score the split all"
        raise BadShares(f"images to draw splits from: {error}; {ways}") from error
    parts: dict[str, list[Row]] = {name: [] for name in shares}
    for row, side in zip(rows, sides, strict=True):
        parts[side].append(row)
    return parts


def _contents(images: Mapping[str, Path], hashes: Path | None, num_threads: int) -> dict[str, str]:
    """The sha256 of each image's bytes; its key where the file cannot be read."""
    from dept_vl.vision.hashes import hash_files  # here, since its package imports open_clip

    found = hash_files(images, hashes, num_threads=num_threads)
    return {key: digest or key for key, digest in found.items()}


def _images(rows: Iterable[Row]) -> set[str]:
    return {row["image"] for row in rows}


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
