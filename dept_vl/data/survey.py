"""Numbers to read before training: how long texts are beside what is read of them, and what stands on two sides."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dept_vl.data.sources import Loaded
from dept_vl.data.text import Kind, encode_targets, tokenise
from dept_vl.data.tokenizer import Tokenizer
from dept_vl.tasks.example import Example

SHARES = (50, 90, 95, 99)  # per cent of the texts
_WHOLE = 1 << 30  # tokens: more than any text has
_FAR = 2  # times as long as 99 % of the texts: a limit need not hold such a one


@dataclass(frozen=True)
class Lengths:
    """Tokens of texts, end tokens included. shares: the length that so many per cent do not exceed. over: how many are
    longer than `limit`. proposal: a limit that holds all, or all but the longest hundredth where these are far longer.
    """

    texts: int
    shares: dict[int, int]
    longest: int
    limit: int
    over: int
    proposal: int


def measure_lengths(lengths: Sequence[int] | np.ndarray, limit: int) -> Lengths:
    """Raises: ValueError for no text."""
    ordered = np.sort(np.asarray(lengths))
    if not len(ordered):
        raise ValueError("wanted at least one text to measure, given none")
    shares = {share: int(ordered[math.ceil(share / 100 * len(ordered)) - 1]) for share in SHARES}
    longest = int(ordered[-1])
    held = shares[99] if longest > _FAR * shares[99] else longest
    return Lengths(len(ordered), shares, longest, limit, int((ordered > limit).sum()), _rounded(held))


def source_lengths(
    tokenizer: Tokenizer, examples: Sequence[Example], kind: Kind, *, own_cue: bool = False
) -> np.ndarray:
    """Of each example's source, uncut. own_cue: see `tokenise`."""
    place: dict[str, int] = {}
    rows = np.fromiter((place.setdefault(each.source, len(place)) for each in examples), np.int64)
    return tokenise(tokenizer, list(place), _WHOLE, kind=kind, own_cue=own_cue).lengths[rows]


def target_lengths(tokenizer: Tokenizer, examples: Sequence[Example], kind: Kind) -> dict[str, tuple[int, int]]:
    """Of each different target: its tokens, uncut, and how many examples have it."""
    counts = Counter(target for each in examples for target in each.targets)
    rows = encode_targets(tokenizer, list(counts), kind)
    return {text: (len(row), counts[text]) for text, row in zip(counts, rows, strict=True)}


def also_in_train(splits: Mapping[str, Loaded], train: str = "train") -> dict[str, int]:
    """By role: how many examples ask what a training example asks, of the same picture. Roles without any are left
    out, and so are those that are the training split."""
    others = {role: each for role, each in splits.items() if role != train and train in splits}
    others = {role: each for role, each in others.items() if each.examples != splits[train].examples}
    wanted = {_asked(example) for each in others.values() for example in each.examples}
    if not wanted:
        return {}
    there = {asked for example in splits[train].examples if (asked := _asked(example)) in wanted}
    counts = {role: sum(_asked(example) in there for example in each.examples) for role, each in others.items()}
    return {role: count for role, count in counts.items() if count}


def same_pictures(splits: Mapping[str, Loaded], hashes: Path | None = None) -> list[tuple[str, str]]:
    """Pairs of pictures on two sides, as "train: a.jpg" and "test: b.jpg", that are one key or the same bytes. Only
    files of equal size are read. hashes: see `hash_files`."""
    from dept_vl.vision.hashes import hash_files  # here, since its package imports open_clip

    sides: dict[tuple[str, Path], str] = {}
    for role, each in splits.items():
        for key, path in each.image_paths.items():
            sides.setdefault((role, path), f"{role}: {key}")
    by_size: dict[int, list[tuple[str, Path]]] = {}
    for role, path in sides:
        by_size.setdefault(path.stat().st_size if path.is_file() else -1, []).append((role, path))
    alike = [each for size, each in by_size.items() if size >= 0 and len({role for role, _ in each}) > 1]
    digests = hash_files({str(path): path for each in alike for _, path in each}, hashes)
    pairs, first = [], {}
    for place in (place for each in alike for place in each):
        if (digest := digests[str(place[1])]) is None:
            continue
        other = first.setdefault(digest, place)
        if other[0] != place[0]:
            pairs.append((sides[other], sides[place]))
    return pairs


def _asked(example: Example) -> int:
    return hash((example.image, example.source))  # a million of them stay small


def _rounded(length: int) -> int:
    """Up to an even number, from 16 on to a multiple of 8."""
    step = 2 if length <= 16 else 8
    return -(-length // step) * step
