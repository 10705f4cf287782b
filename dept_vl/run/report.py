"""report.html of a finished run: one file to look at, with nothing to fetch and no scripts.

The functions here turn what the run wrote into plain values; report_template.html.j2 says how they look. The same run
folder and images give the same bytes.
"""

import base64
import io
import json
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from PIL import Image

from dept_vl.metrics.answers import answer_score
from dept_vl.run.results import regime_of
from dept_vl.saved.card import vision_hub_name
from dept_vl.untrusted.images import UnreadableImage, open_image
from dept_vl.untrusted.whole_files import write_files_whole

SAMPLES = 24
QUOTAS = {"wrong": 9, "partly right": 3, "right": 12, None: SAMPLES}  # in the order shown; None: not judged
THUMBNAIL = 224  # pixels, the longer side

Row = Mapping[str, Any]


class UnfinishedRun(ValueError):
    """A folder without the files that a finished run leaves, or with one of them damaged."""


@dataclass(frozen=True)
class Sample:
    """A test row as the report shows it.

    answers: references with how often each was given. mark, accuracy: None for captions, which are neither right nor
    wrong. picture: a data URI, or None with the reason in `problem`.
    """

    row: Row
    answers: list[tuple[str, int]]
    mark: str | None
    accuracy: float | None
    picture: str | None
    problem: str


def write_report(folder: Path, image_paths: Mapping[str, Path]) -> Path:
    """Write report.html into the run folder and return its path. `image_paths` maps test image keys to files.

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
    from dept_vl.run.charts import draw_run  # here, since matplotlib takes a second and nothing needs it before

    vision, members = results["meta_info"]["model_info"].get("vision"), results.get("members", {})
    towers = [each for each in (vision, (vision or {}).get("vision_second")) if each]
    headline = results["selection"]["reported"]
    tasks = {name: (each["reported"], each["protocol"], each["labels"]) for name, each in members.items()}
    tasks = tasks or {results["task"]: (headline, results["protocol"], results["labels"])}
    own = [row.get("task", results["task"]) for row in rows]
    accuracies = [judge(row, task, *tasks[task]) for row, task in zip(rows, own, strict=True)]
    return page_template("report_template.html.j2").render(
        results=results,
        test=results["metrics"]["test"],
        headline=headline,
        clip_name=" and ".join(map(vision_hub_name, towers)) or None,
        charts=draw_run(results, log),
        samples=[show(rows[i], accuracies[i], image_paths) for i in choose(rows, accuracies)],
        tally=Counter(map(mark, accuracies)),
        number=len(rows),
        regime=regime_of(results),
        members=members,
        config=config,
    )


def judge(row: Row, task: str, metric: str, protocol: str, labels: Mapping[str, str]) -> float | None:
    """How right an answer is, from 0 to 1; None where it is neither right nor wrong, as a caption. metric: the task's
    score. protocol: VQA accuracy's."""
    if task == "vqa":
        return answer_score(metric, row["prediction"], row["references"], protocol)
    if labels and not _numbers(labels):
        return float(row["prediction"] in row["references"])
    return None


@cache
def page_template(name: str) -> Template:
    """A page of this folder, in the style that all of them have."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "hundred": lambda share: f"{100 * share:.2f}",
        "count": lambda number: f"{number:,}",
        "duration": duration,
    }
    folder = files("dept_vl.run")
    environment.globals["style"] = folder.joinpath("page_style.css.j2").read_text(encoding="utf-8")
    return environment.from_string(folder.joinpath(name).read_text(encoding="utf-8"))


def _numbers(labels: Mapping[str, str]) -> bool:
    """Whether the labels are STS-B's numbers, which a prediction comes near to but rarely meets."""
    return any("." in label and label == meaning for label, meaning in labels.items())


def mark(accuracy: float | None) -> str | None:
    return {None: None, 0: "wrong", 1: "right"}.get(accuracy, "partly right")


def choose(rows: Sequence[Row], accuracies: Sequence[float | None]) -> list[int]:
    """Places of the 24 rows to show, wrong ones first. Within a mark the order is that of a checksum of the id,
    question types (where rows name theirs) taking turns and new images going first."""
    marks, shown, spare = [mark(accuracy) for accuracy in accuracies], [], []
    for kind, quota in QUOTAS.items():
        order = _spread([i for i, each in enumerate(marks) if each == kind], rows)
        shown, spare = shown + order[:quota], spare + order[quota:]
    return sorted([*shown, *spare][:SAMPLES], key=lambda i: list(QUOTAS).index(marks[i]))


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
    picture.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=88, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def duration(seconds: int | float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{seconds:.1f} s" if seconds < 100 else f"{minutes:,} min {rest:02} s"


def _json_lines(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:  # splitlines() would also cut at U+2028 inside an answer
        return [json.loads(line) for line in file]
