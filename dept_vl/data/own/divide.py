"""Divide rows into train, val and test by the content of their images: the same image is never on two sides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dept_vl.data.own.collect import Row
from dept_vl.data.seeded_split import ROLES, BadShares, TooFewToSplit, check_shares, seeded_split
from dept_vl.untrusted.bad_file import listed


def divide(
    rows: Mapping[str, list[Row]],
    shares: Sequence[float],
    image_paths: Mapping[str, Path],
    undivided: str,
    hashes: Path | None = None,
) -> tuple[dict[str, list[Row]], list[str]]:
    """Rows by train, val and test, and a sentence about their sizes.

    rows: by split, or all of them under `undivided`. What has no val or test gets it out of train. shares: of the
    images (not of the rows). hashes: a file that remembers the images' hashes.
    Raises: BadShares.
    """
    check_shares(shares)
    wanted = dict(zip(ROLES, shares, strict=True))
    given = {name: each for name, each in rows.items() if name != undivided}
    source = rows[undivided] if undivided in rows else given.get("train", [])
    drawn = [name for name in ROLES[1:] if name not in given and wanted[name] > 0] if source else []
    parts = dict(given)
    if drawn:
        parts |= _draw(source, {name: wanted[name] for name in ("train", *drawn)}, image_paths, hashes)
    elif source:
        parts["train"] = source
    parts = {name: parts[name] for name in ROLES if name in parts}
    sizes = ", ".join(
        f"{name} {_counted(len(each), 'row')} of {_counted(len(_images(each)), 'image')}"
        for name, each in parts.items()
    )
    how = "as given" if not drawn else f"{', '.join(drawn)} drawn by image out of {'train' if given else 'all'}"
    return parts, [f"{sizes} ({how})", *_shared(parts)]


def _draw(
    rows: Iterable[Row], shares: Mapping[str, float], image_paths: Mapping[str, Path], hashes: Path | None
) -> dict[str, list[Row]]:
    """Raises: BadShares for fewer different images than sides."""
    rows = list(rows)
    content = _contents({key: image_paths[key] for key in _images(rows)}, hashes)
    try:
        sides = seeded_split([content[row["image"]] for row in rows], shares)
    except TooFewToSplit as error:
        raise BadShares(f"images to draw splits from: {error}; give files named by their split") from error
    parts: dict[str, list[Row]] = {name: [] for name in shares}
    for row, side in zip(rows, sides, strict=True):
        parts[side].append(row)
    return parts


def _contents(images: Mapping[str, Path], hashes: Path | None) -> dict[str, str]:
    """The sha256 of each image's bytes; its key where the file cannot be read."""
    from dept_vl.vision.hashes import hash_files  # here, since its package imports open_clip

    found = hash_files(images, hashes or Path("no folder") / "hashes.json")
    return {key: digest or key for key, digest in found.items()}


def _images(rows: Iterable[Row]) -> set[str]:
    return {row["image"] for row in rows}


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _shared(parts: Mapping[str, list[Row]]) -> list[str]:
    """Splits that the user gave stay as they are, but what they share is said."""
    images = {name: _images(rows) for name, rows in parts.items()}
    pairs = [(one, other) for place, one in enumerate(images) for other in list(images)[place + 1 :]]
    return [
        f"{one} and {other} share {listed(sorted(images[one] & images[other]), show=2)} images"
        for one, other in pairs
        if images[one] & images[other]
    ]
