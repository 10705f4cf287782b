"""Look at a data set before training: what was understood of it, as lines and as one page to open in a browser.

`look` measures; `as_lines` and `as_page` show the same numbers. Nothing is fetched and nothing is trained.
"""

import json
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dept_vl.config import Experiment
from dept_vl.data.sources import Loaded
from dept_vl.data.survey import (
    SHARES,
    Lengths,
    also_in_train,
    measure_lengths,
    same_pictures,
    source_lengths,
    target_lengths,
)
from dept_vl.data.text import Kind
from dept_vl.data.tokenizer import Tokenizer, load_tokenizer
from dept_vl.run.components import read_splits
from dept_vl.run.report import page_template, thumbnail
from dept_vl.run.tasks import build_task, resolve, suit
from dept_vl.tasks import OWN_TEXT, Task
from dept_vl.tasks.example import Example
from dept_vl.untrusted.bad_file import listed
from dept_vl.untrusted.images import UnreadableImage, check_image, open_image

SIDES = ("source", "target")
SAMPLES = 5
MOST_DECODED = 5000  # pictures that are decoded whole; of more only the headers are read
_FEW = 20  # different answers that look like classes
_LISTED = 50  # cut answers and unreadable pictures on the page


@dataclass(frozen=True)
class PageExample:
    """An example as the page shows it. picture: a data URI, or None with the reason in `problem`."""

    role: str
    example: Example
    picture: str | None
    problem: str


@dataclass(frozen=True)
class Look:
    """What is known of a data set. lengths: by role and "source" or "target". cut: targets that are longer than
    max_target_length, with their tokens and examples, the longest first. unreadable: pictures by key, with the reason.
    twice: pictures on two sides. labels: a proposal for task.labels, () for none."""

    name: str
    task: Task
    loaded: Mapping[str, Loaded]
    lengths: Mapping[tuple[str, str], Lengths]
    cut: Sequence[tuple[str, int, int]]
    also_in_train: Mapping[str, int]
    twice: Sequence[tuple[str, str]]
    unreadable: Mapping[str, str]
    decoded: bool
    labels: tuple[str, ...]
    samples: Sequence[PageExample]

    @property
    def labels_flag(self) -> str:
        return f"--task.labels '{json.dumps(self.labels, ensure_ascii=False)}'"

    @property
    def pictures(self) -> int:
        return len({path for each in self.loaded.values() for path in each.image_paths.values()})


def load_roles(
    config: Experiment, splits: Sequence[str], load: Callable[..., Loaded] | None = None
) -> tuple[Experiment, Task, dict[str, Loaded]]:
    """The resolved config, its task with the score that suits, and these splits by name. load: reads one split in place
    of what the config's root would be read by."""
    config = resolve(config)
    task = build_task(config)
    if load is not None:
        loaded = {split: load(config.task.root, split, task) for split in splits}
    else:
        loaded = read_splits(config, task, {split: (split, None) for split in splits})
    return config, suit(task, loaded, config.task), loaded


def look_at(config: Experiment, task: Task, loaded: Mapping[str, Loaded]) -> Look:
    """`look` with the config's lengths and its backbone's tokenizer and form of text. Raises: MissingTokenizer."""
    backbone = config.backbone
    tokenizer = load_tokenizer(backbone.source, backbone.revision, backbone.pad_token)
    sizes = {name: getattr(config.task, name) for name in ("max_source_length", "max_target_length")}
    kind = "chat" if backbone.chat_template else backbone.kind
    hashes = Path(config.vision.feature_dir) / "hashes.json"
    return look(Path(config.task.root).name, task, loaded, tokenizer, kind=kind, hashes=hashes, **sizes)


def count_lines(loaded: Mapping[str, Loaded]) -> list[str]:
    """What was read of each split, a line each."""
    return [
        f"{role}: " + ", ".join(f"{name} {value:,}" for name, value in each.counts.items())
        for role, each in loaded.items()
    ]


def look(
    name: str,
    task: Task,
    loaded: Mapping[str, Loaded],
    tokenizer: Tokenizer,
    *,
    kind: Kind,
    max_source_length: int,
    max_target_length: int,
    hashes: Path | None = None,
) -> Look:
    """name: of the set, as the page's title. loaded: by role, train first. hashes: a file that remembers the pictures'
    hashes."""
    lengths, targets = {}, {}
    for role, each in loaded.items():
        own = target_lengths(tokenizer, each.examples, kind)
        found = source_lengths(tokenizer, each.examples, kind, own_cue=task.visual)
        lengths[role, "source"] = measure_lengths(found, max_source_length)
        spread = [length for length, count in own.values() for _ in range(count)]
        lengths[role, "target"] = measure_lengths(spread, max_target_length)
        for text, (length, count) in own.items():
            targets[text] = (length, targets.get(text, (length, 0))[1] + count)
    cut = [(text, *each) for text, each in targets.items() if each[0] > max_target_length]
    paths = {key: path for each in loaded.values() for key, path in each.image_paths.items()}
    return Look(
        name=name,
        task=task,
        loaded=loaded,
        lengths=lengths,
        cut=sorted(cut, key=lambda each: (-each[1], each[0])),
        also_in_train=also_in_train(loaded),
        twice=same_pictures(loaded, hashes),
        unreadable=_unreadable(paths),
        decoded=len(paths) <= MOST_DECODED,
        labels=_proposed_labels(task, targets),
        samples=_samples(loaded),
    )


def as_lines(found: Look) -> list[str]:
    """A line each, as the script prints them."""
    notes = next(iter(found.loaded.values())).notes
    lines = [f"{found.name}: {found.task.name}, scored by {found.task.headline}", *notes]
    lines += count_lines(found.loaded)
    lines += [_line(role, what, each) for (role, what), each in found.lengths.items()]
    if found.cut:
        lines.append(f"answers that would be cut: {listed(text for text, *_ in found.cut)}")
    for role, count in found.also_in_train.items():
        lines.append(f"{role}: {count:,} of {len(found.loaded[role].examples):,} examples stand in train too")
    if found.twice:
        lines.append(f"pictures on two sides: {listed(' = '.join(pair) for pair in found.twice)}")
    if found.pictures:
        how = "decoded whole" if found.decoded else "by their headers alone, so many are they"
        bad = "".join(f"\n  {name}: {reason}" for name, reason in found.unreadable.items())
        lines.append(f"pictures: {found.pictures:,}, {len(found.unreadable):,} unreadable ({how}){bad}")
    if found.labels:
        lines.append(f"answers are few; to choose among them: {found.labels_flag}")
    return lines


def as_json(found: Look) -> dict[str, Any]:
    """The same as plain values, without the counts."""
    return {
        "name": found.name,
        "task": found.task.name,
        "headline": found.task.headline,
        "notes": list(next(iter(found.loaded.values())).notes),
        "tokens": {role: {what: asdict(found.lengths[role, what]) for what in SIDES} for role in found.loaded},
        "cut": [text for text, *_ in found.cut],
        "also_in_train": dict(found.also_in_train),
        "on_two_sides": [list(pair) for pair in found.twice],
        "pictures": found.pictures,
        "unreadable": dict(found.unreadable),
        "labels": list(found.labels),
    }


def as_page(found: Look) -> str:
    """One HTML file with its pictures in it, no scripts."""
    counts = list(dict.fromkeys(name for each in found.loaded.values() for name in each.counts))
    return page_template("data_page_template.html.j2").render(
        found=found,
        notes=next(iter(found.loaded.values())).notes,
        counts=counts,
        shares=SHARES,
        proposals={what: proposal(found, what) for what in SIDES},
        listed=_LISTED,
        template=found.task.template,
    )


def proposal(found: Look, what: str) -> int:
    """The greatest of the splits' proposals for max_source_length or max_target_length."""
    return max(each.proposal for (_, kind), each in found.lengths.items() if kind == what)


def _line(role: str, what: str, each: Lengths) -> str:
    shares = ", ".join(f"{share} % {length}" for share, length in each.shares.items())
    fits = f"cuts {each.over:,} of {each.texts:,}" if each.over else "cuts none"
    limit = f"max_{what}_length {each.limit} {fits}, {each.proposal} proposed"
    return f"{role}: {what} tokens: {shares}, longest {each.longest}; {limit}"


def _unreadable(paths: Mapping[str, Path]) -> dict[str, str]:
    read = open_image if len(paths) <= MOST_DECODED else check_image
    found = {}
    for key, path in paths.items():
        try:
            read(path)
        except UnreadableImage as error:
            found[key] = error.reason
    return found


def _proposed_labels(task: Task, targets: Mapping[str, tuple[int, int]]) -> tuple[str, ...]:
    """Few short answers that each come often look like classes."""
    if task.name != OWN_TEXT.name or task.candidates or not 2 <= len(targets) <= _FEW:
        return ()
    return tuple(sorted(targets)) if min(count for _, count in targets.values()) > 2 else ()


def _samples(loaded: Mapping[str, Loaded]) -> list[PageExample]:
    """The first by a checksum of the id, from as many splits as there are, train first."""
    ordered = {role: sorted(each.examples, key=_checksum) for role, each in loaded.items()}
    shares = Counter(list(loaded)[place % len(loaded)] for place in range(SAMPLES))
    chosen = [(role, example) for role, own in ordered.items() for example in own[: shares[role]]]
    return [_sample(role, example, loaded[role].image_paths) for role, example in chosen]


def _checksum(example: Example) -> int:
    return zlib.crc32(str(example.id).encode("utf-8", "surrogatepass"))


def _sample(role: str, example: Example, paths: Mapping[str, Path]) -> PageExample:
    if example.image is None:
        return PageExample(role, example, None, "")
    try:
        return PageExample(role, example, thumbnail(paths[example.image]), "")
    except (UnreadableImage, KeyError) as error:
        return PageExample(role, example, None, getattr(error, "reason", "its file was not found"))
