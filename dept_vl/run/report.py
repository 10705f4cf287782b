"""report.html of a finished run: one file to look at, with nothing to fetch and no scripts.

The functions here turn what the run wrote into plain values; report_template.html.j2 says how they look. Curves are
inline SVG drawn from those values, so they take the reader's light or dark colours. The same run folder and images
give the same bytes.
"""

import base64
import io
import json
import math
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from statistics import fmean
from typing import Any

from jinja2 import Environment, StrictUndefined
from PIL import Image

from dept_vl.metrics.vqa import vqa_accuracy
from dept_vl.saved.card import vision_hub_name
from dept_vl.untrusted.whole_files import write_files_whole
from dept_vl.vision.images import UnreadableImage, open_image

SAMPLES = 24
_QUOTAS = {"wrong": 9, "partly right": 3, "right": 12, None: SAMPLES}  # in the order shown; None: not judged
_THUMBNAIL = 224  # pixels, the longer side
_POINTS = 300  # of a curve; longer ones are averaged
WIDTH, HEIGHT = 420, 240  # of a chart, in SVG units
LEFT, RIGHT, TOP, BOTTOM = 46, 400, 12, 206  # its plotting area

Row = Mapping[str, Any]
Number = int | float
Points = list[tuple[Number, Number]]


class UnfinishedRun(ValueError):
    """A folder without the files that a finished run leaves, or with one of them damaged."""


@dataclass(frozen=True)
class Sample:
    """answers: references with how often each was given. mark, accuracy: None for captions, which are neither right nor
    wrong. picture: a data URI, or None with the reason in `problem`."""

    row: Row
    answers: list[tuple[str, int]]
    mark: str | None
    accuracy: float | None
    picture: str | None
    problem: str


@dataclass(frozen=True)
class Line:
    """points: in SVG units. first, last: values at the ends. zeros: how many a log axis leaves out."""

    name: str
    points: Points
    first: Number | None
    last: Number | None
    zeros: int


@dataclass(frozen=True)
class Chart:
    """Ticks: places in SVG units with labels. averaged: log lines per point. best: place of the kept checkpoint."""

    title: str
    lines: list[Line]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    averaged: int
    best: float | None


def write_report(folder: Path, image_paths: Mapping[str, Path]) -> Path:
    """Writes report.html into the run folder and returns its path. `image_paths` maps test image keys to files.

    An image that is missing or unreadable is named in its place.

    Raises:
        UnfinishedRun: naming the file that is absent or damaged.
        OSError: the report could not be written; an older one is untouched.
    """
    try:
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        log, rows = _json_lines(folder / "metrics.jsonl"), _json_lines(folder / "predictions.jsonl")
        config = (folder / "config.yaml").read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UnfinishedRun(f"{folder}: wanted a finished run, given no {Path(error.filename).name}") from error
    except ValueError as error:
        raise UnfinishedRun(f"{folder}: wanted whole JSON files of a finished run, given {error}") from error
    html = render(results, log, rows, config, image_paths)
    write_files_whole(folder, {"report.html": html.encode("utf-8", errors="replace")})
    return folder / "report.html"


def render(
    results: Mapping[str, Any], log: Sequence[Row], rows: Sequence[Row], config: str, image_paths: Mapping[str, Path]
) -> str:
    """The page, from results.json, the lines of metrics.jsonl and predictions.jsonl, and the text of config.yaml."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"hundred": lambda share: f"{100 * share:.2f}", "duration": duration}
    labels, vision = results["labels"], results["meta_info"]["model_info"].get("vision")
    accuracies: list[float | None] = [None] * len(rows)
    if results["task"] == "vqa":
        accuracies = [vqa_accuracy(row["prediction"], row["references"], results["protocol"]) for row in rows]
    elif labels and not _numbers(labels):
        accuracies = [float(row["prediction"] in row["references"]) for row in rows]
    template = files("dept_vl.run").joinpath("report_template.html.j2").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        results=results,
        test=results["metrics"]["test"],
        headline=results["selection"]["reported"],
        seeing=vision is not None,
        clip_name=vision_hub_name(vision) if vision else None,
        meanings_of_labels=labels,
        charts=charts(results, log),
        area={"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM},
        samples=[show(rows[i], accuracies[i], image_paths) for i in choose(rows, accuracies)],
        tally=Counter(map(mark, accuracies)),
        number=len(rows),
        config=config,
    )


def _numbers(labels: Mapping[str, str]) -> bool:
    """Whether the labels are STS-B's numbers, which a prediction comes near to but rarely meets."""
    return any("." in label and label == meaning for label, meaning in labels.items())


def mark(accuracy: float | None) -> str | None:
    return {None: None, 0: "wrong", 1: "right"}.get(accuracy, "partly right")


def choose(rows: Sequence[Row], accuracies: Sequence[float | None]) -> list[int]:
    """Places of the 24 rows to show, wrong ones first. Within a mark the order is that of a checksum of the id,
    question types (where rows name theirs) taking turns and new images going first."""
    marks, shown, spare = [mark(accuracy) for accuracy in accuracies], [], []
    for kind, quota in _QUOTAS.items():
        order = _spread([i for i, each in enumerate(marks) if each == kind], rows)
        shown, spare = shown + order[:quota], spare + order[quota:]
    return sorted([*shown, *spare][:SAMPLES], key=lambda i: list(_QUOTAS).index(marks[i]))


def _spread(places: Sequence[int], rows: Sequence[Row]) -> list[int]:
    turns: Counter[str | None] = Counter()
    images: set[str | None] = set()
    keyed = []
    for place in sorted(places, key=lambda i: zlib.crc32(str(rows[i]["id"]).encode())):
        kind, image = rows[place].get("question_type"), rows[place]["image"]
        keyed.append((image in images, turns[kind], place))
        turns[kind] += image not in images
        images.add(image)
    return [place for *_, place in sorted(keyed, key=lambda each: each[:2])]


def show(row: Row, accuracy: float | None, image_paths: Mapping[str, Path]) -> Sample:
    picture, problem = None, "no picture belongs to it" if row["image"] is None else "not among the test images"
    if row["image"] in image_paths:
        try:
            picture = thumbnail(image_paths[row["image"]])
        except UnreadableImage as error:
            problem = error.reason
    answers = Counter(row["references"]).most_common(None if accuracy is not None else 2)
    return Sample(row, answers, mark(accuracy), accuracy, picture, problem)


def thumbnail(path: Path) -> str:
    """The image as a JPEG data URI, at most 224 pixels wide and high. Raises: UnreadableImage."""
    picture = open_image(path)
    picture.thumbnail((_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=88, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def charts(results: Mapping[str, Any], log: Sequence[Row]) -> list[Chart]:
    """Loss, the selecting split's score (x 100), and each group's learning rate and gradient norm."""
    groups, headline = results["weights"]["by_group"], results["selection"]["reported"]
    steps = [line for line in log if "loss" in line]
    scores = [(line["step"], 100 * line["evaluation"][headline]) for line in log if "evaluation" in line]

    def by_group(what: str) -> dict[str, Points]:
        return {name: [(line["step"], line[what][name]) for line in steps if name in line[what]] for name in groups}

    last = max((line["step"] for line in log), default=1)
    return [
        draw("Training loss", {"loss": [(line["step"], line["loss"]) for line in steps]}, last),
        draw(f"{headline} × 100 while training", {headline: scores}, last, best=results["best_step"]),
        draw("Learning rate, log scale", by_group("lr"), last, log=True),
        draw("Gradient norm before clipping, log scale", by_group("grad_norm"), last, log=True),
    ]


def draw(
    title: str, series: Mapping[str, Points], last_step: Number, *, log: bool = False, best: Number | None = None
) -> Chart:
    """Curves over steps. A log axis leaves out zeros and says how many; points that are not finite are left out."""
    finite = {name: [(x, y) for x, y in points if math.isfinite(y)] for name, points in series.items()}
    kept = {name: [(x, y) for x, y in points if y > 0 or not log] for name, points in finite.items()}
    together = -(-max(map(len, kept.values()), default=1) // _POINTS) or 1
    drawn = {
        name: [tuple(map(fmean, zip(*points[i : i + together], strict=True))) for i in range(0, len(points), together)]
        for name, points in kept.items()
    }
    values = [y for points in drawn.values() for _, y in points] or [1.0]
    ticks = (log_ticks if log else linear_ticks)(min(values), max(values))
    place = math.log10 if log else float
    across = partial(_spot, low=0, high=last_step, start=LEFT, end=RIGHT)
    up = partial(_spot, low=place(ticks[0]), high=place(ticks[-1]), start=BOTTOM, end=TOP)
    lines = []
    for name, points in drawn.items():
        ends = [y for _, y in finite[name]] or [None]
        spots = [(across(x), up(place(y))) for x, y in points]
        lines.append(Line(name, spots, ends[0], ends[-1], len(finite[name]) - len(kept[name])))
    x_ticks = [(across(x), f"{x:,.7g}") for x in linear_ticks(0, last_step, 8) if x <= last_step]
    y_ticks = [(up(place(y)), f"{y:g}") for y in ticks]
    return Chart(title, lines, x_ticks, y_ticks, together, across(best) if best else None)


def _spot(value: Number, low: Number, high: Number, start: int, end: int) -> float:
    return round(start + (end - start) * (value - low) / (high - low), 1)


def linear_ticks(low: Number, high: Number, most: int = 5) -> list[float]:
    """Round numbers around low and high, at least two, about `most` steps of 1, 2 or 5 times a power of ten."""
    raw = (high - low or abs(high) or 1.0) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first = math.floor(low / step + 1e-9)
    last = max(math.ceil(high / step - 1e-9), first + 1)
    return [float(f"{index * step:.10g}") for index in range(first, last + 1)]


def log_ticks(low: Number, high: Number, most: int = 5) -> list[float]:
    """Powers of ten around low and high, at least two, thinned out beyond `most` steps."""
    first = math.floor(math.log10(low))
    span = max(math.ceil(math.log10(high)) - first, 1)
    stride = -(-span // most)
    return [float(f"1e{first + index * stride}") for index in range(-(-span // stride) + 1)]


def duration(seconds: Number) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{seconds:.1f} s" if seconds < 100 else f"{minutes:,} min {rest:02} s"


def _json_lines(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:  # splitlines() would also cut at U+2028 inside an answer
        return [json.loads(line) for line in file]
