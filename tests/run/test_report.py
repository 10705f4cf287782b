"""The report of a run: read as a browser would, from run folders with invented but plausible numbers."""

import base64
import io
import json
import random
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image

from dept_vl.embedded.shapes.language import annotators, captions, word_answer
from dept_vl.embedded.shapes.questions import KINDS, ask
from dept_vl.embedded.shapes.render import render
from dept_vl.embedded.shapes.world import sample_scene
from dept_vl.metrics.vqa import vqa_accuracy
from dept_vl.run.charts import draw
from dept_vl.run.report import UnfinishedRun, choose, duration, thumbnail, write_report

GROUPS = {"prompt": 2_560, "low_rank": 4_864, "projection": 34_304}
HOSTILE = '<script>alert("x")</script>\'"><img src=x onerror=alert(1)>&amp;'


def scores_headline(task: str) -> str:
    return {"vqa": "vqa_accuracy", "caption": "CIDEr"}[task]


def results_of(task: str, scores: dict[str, Any], baselines: dict[str, float]) -> dict[str, Any]:
    trained = sum(GROUPS.values())
    config = {"output_dir": f"runs/{task}_shapes", "seed": 42, "max_steps": 1200, "adapter": {"name": "dept"}}
    return {
        "task": task,
        "adapter": "dept",
        "inside": None,
        "protocol": scores.get("protocol", "coco-caption, beam 5"),
        "metrics": {"test": scores},
        "baselines": baselines,
        "recorded": ["projection_only"],
        "counts": {
            "train": {"read": 40_000, "in_split": 35_200, "dropped_no_answer": 3, "examples": 35_197, "images": 4_400}
            | {"sources_cut": 0, "targets_cut": 2},
            "eval": {"read": 40_000, "in_split": 2_400, "dropped_no_answer": 0, "examples": 2_400, "images": 300},
            "test": {"read": 40_000, "in_split": 2_400, "dropped_no_answer": 0, "examples": 2_400, "images": 300}
            | {"dropped_unreadable_image": 1},
        },
        "weights": {
            "trained": trained,
            "by_group": GROUPS,
            "backbone": 1_850_000,
            "clip": 1_600_000,
            "total": 1_850_000 + trained,
            "total_with_clip": 3_450_000 + trained,
            "share": trained / (1_850_000 + trained),
            "share_with_clip": trained / (3_450_000 + trained),
            "adapter_share": 7_424 / (1_850_000 + trained),
        },
        "seconds": {"read_data": 2.1, "load_models": 1.4, "features": 21.0, "train": 158.2, "evaluate": 9.81},
        "labels": {},
        "selection": {"metric": scores_headline(task), "reported": scores_headline(task), "split": "val"},
        "started_from": {"folder": None, "not_copied": []},
        "answers": {"yes": 301, "no": 288, "red": 97, "2": 90, "": 1},
        "best_step": 900,
        "run_info": {
            "created_at": "2026-11-21T09:30:12+00:00",
            "total_time": 203.4,
            "experiment_name": f"{task}_shapes",
            "train_config": config,
            "peft_config": {"num_virtual_tokens": 20, "r": 32, "max_length": 24, "lora_alpha": 8.0, "token_dim": 128},
            "error_msg": "",
        },
        "train_info": {
            "accelerator_memory_max": 912_000_000,
            "train_time": 141.2,
            "steps_per_second": 8.5,
            "num_trainable_params": trained,
            "num_total_params": 1_850_000 + trained,
            "status": "success",
            "metrics": [],
            "file_size": 167_624,
        },
        "meta_info": {
            "model_info": {
                "backbone": {"base_model_name_or_path": "tiny-t5", "revision": None, "backbone_sha256": "0" * 64},
                "vision": {"vision_model_name": "local-dir:/somewhere/tiny-clip", "vision_pretrained": None},
            },
            "dataset_info": {"root": "shapes", "train": "train", "test": "test"},
            "package_info": {"dept_vl-version": "0.1.0", "torch-version": "2.15.0"},
            "system_info": {"system": "Linux", "machine": "x86_64", "python": "3.11.2", "accelerator": "cpu"}
            | {"num_processes": 1, "num_threads": 2},
            "commit": "0123456789ab+",
        },
    }


def log_of(headline: str, best: float, rng: random.Random) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for step in range(20, 1201, 20):
        rate = min(step / 72, (1200 - step) / 1128)
        norms = {name: rng.uniform(0.5, 2) / (1 + step / 300) for name in GROUPS}
        loss = 0.35 + 4 * 0.995**step + rng.uniform(-0.1, 0.1)
        rates = {"prompt": 0.3 * rate, "low_rank": 5e-4 * rate, "projection": 1e-3 * rate}
        lines.append({"step": step, "loss": loss, "lr": rates, "grad_norm": norms, "seconds": step / 8})
        if step % 300 == 0:
            lines.append({"step": step, "evaluation": {headline: best * (1 - 0.5 ** (step / 250))}})
    return lines


def write_run(root: Path, task: str, *, seed: int = 0, number: int = 80) -> tuple[Path, dict[str, Path]]:
    """A finished run folder below `root` and the paths of its images."""
    rng, rows, image_paths = random.Random(seed), [], {}
    folder = root / f"{task}_run"
    (root / "images").mkdir(parents=True, exist_ok=True)
    folder.mkdir()
    while len(rows) < number:
        scene = sample_scene(rng, wanted_held_out=True)
        name = f"shapes_{len(rows):06}.png"
        kind = rng.choice(KINDS)
        question = ask(scene, kind, rng)
        if question is None:
            continue
        image_paths[name] = root / "images" / name
        render(scene).save(image_paths[name])
        row = {"id": 1000 + len(rows), "image": name, "text": "", "references": captions(scene, rng)}
        if task == "vqa":
            answers = annotators(question, rng)
            guess = rng.choice(answers if rng.random() < 0.3 else [word_answer(question)] * 3 + ["green"])
            row |= {"text": f"what about the {kind}?", "references": answers, "prediction": guess}
            row |= {"question_type": kind}
        else:
            row |= {"prediction": rng.choice(row["references"]).lower()}
        rows.append(row)
    if task == "vqa":
        types = {kind: 0.95 - 0.05 * place for place, kind in enumerate(sorted(KINDS))}
        scores = {"vqa_accuracy": 0.7848, "protocol": "official-2021", "by_question_type": types, "warnings": []}
        scores |= {"by_answer_type": {"number": 0.71, "other": 0.8, "yes/no": 0.79}}
        baselines = {"majority": 0.4312, "blind": 0.4021, "projection_only": 0.6713}
    else:
        scores = {"Bleu_1": 0.81, "Bleu_4": 0.52, "METEOR": 0.35, "ROUGE_L": 0.66, "CIDEr": 2.43, "tokenizer": "ptb"}
        scores |= {"skipped": {"SPICE": "wanted its model files, given none"}}
        scores |= {"warnings": ["scored 160 of the 5,000 images of the split: not comparable"]}
        baselines = {"constant": 0.91, "blind": 0.72, "projection_only": 1.71}
    headline = "vqa_accuracy" if task == "vqa" else "CIDEr"
    results = results_of(task, scores, baselines)
    log = log_of(headline, scores[headline], rng)
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    write_rows(folder, rows)
    (folder / "config.yaml").write_text("# commit 0123456789ab+, seed 42\noutput_dir: runs/x\nmax_steps: 1200\n")
    return folder, image_paths


def write_rows(folder: Path, rows: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "predictions.jsonl").write_text(text, encoding="utf-8")


def read_rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").split("\n") if line]


def change_results(folder: Path, **changes: Any) -> None:
    results = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps(results | changes))


class Page(HTMLParser):
    """What a browser sees: tags with attributes, and the text outside of styles."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "br", "line", "circle", "polyline"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += f" {data} "

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(params=["vqa", "caption"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, Path]]:
    return write_run(tmp_path, request.param)


@pytest.fixture
def vqa_run(tmp_path: Path) -> tuple[Path, dict[str, Path]]:
    return write_run(tmp_path, "vqa")


def report_of(run: tuple[Path, dict[str, Path]]) -> Page:
    path = write_report(*run)
    assert path == run[0] / "report.html"
    return Page(path)


@pytest.mark.charts
def test_a_report_fetches_nothing_and_runs_nothing(run) -> None:
    page = report_of(run)
    links = [value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")]
    assert links and all(link.startswith("data:") for link in links)
    assert not {"script", "iframe", "object", "embed", "form", "base"} & {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert "url(" not in page.source and "@import" not in page.source
    assert page.open == []


def examples(page: Page) -> list[dict[str, str | None]]:
    return [image for image in page.all("img") if image["alt"].startswith("Test image ")]


def test_a_report_shows_24_pictures_with_alternative_texts(run) -> None:
    images = examples(report_of(run))
    assert len(images) == 24
    assert all(image["src"].startswith("data:image/jpeg;base64,") and image["alt"] for image in images)
    assert len({image["alt"] for image in images}) == 24


@pytest.mark.charts
def test_every_chart_and_table_says_what_it_is(run) -> None:
    page = report_of(run)
    charts = [image for image in page.all("img") if "over optimizer steps" in image["alt"]]
    assert len(charts) == 4 and all(image["src"].startswith("data:image/svg+xml;base64,") for image in charts)
    drawing = ElementTree.fromstring(base64.b64decode(charts[1]["src"].partition(",")[2]))
    texts = " ".join(text.strip() for text in drawing.itertext() if text.strip())
    assert "optimizer step" in texts and "step 900, whose weights were kept" in texts
    links = [value for each in drawing.iter() for name, value in each.attrib.items() if name.endswith("href")]
    assert not [each for each in drawing.iter() if each.tag.endswith("script")] and all(
        v.startswith("#") for v in links
    )
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(header["scope"] in ("row", "col") for header in page.all("th"))


def test_the_score_stands_beside_its_baselines_and_recorded_ones_are_marked(vqa_run) -> None:
    text = report_of(vqa_run).text
    assert "78.48" in text and "official-2021" in text
    assert "majority the commonest training answer of each question type 43.12 +35.36" in text
    assert "projection_only recorded no adapter: only the projection trains 67.13 +11.35" in text
    change_results(vqa_run[0], recorded=[])
    assert "recorded" not in report_of(vqa_run).text


def test_caption_metrics_stand_with_what_was_skipped_and_the_warnings(tmp_path: Path) -> None:
    text = report_of(write_run(tmp_path, "caption")).text
    assert "CIDEr × 100" in text and "243.00" in text and "Bleu_4" in text
    assert "SPICE was not computed: wanted its model files, given none" in text
    assert "scored 160 of the 5,000 images" in text
    assert "wrong" not in text


def test_text_that_the_tokenizer_does_not_carry_is_shown(vqa_run) -> None:
    change_results(vqa_run[0], not_carried={"train": {"targets": {"examples": [["<b>", "b>"], ["红色", ""]]}}})
    text = report_of(vqa_run).text
    assert "Text that the tokenizer does not carry" in text
    assert "train: targets <b> b>" in text and "train: targets 红色 (nothing)" in text


def test_sizes_and_times_are_whole(vqa_run) -> None:
    text = report_of(vqa_run).text
    for part in ("34,304", "41,728", "1,891,728", "3,491,728", "167,624 bytes", "2 min 38 s", "8.50", "9.8 s"):
        assert part in text
    change_results(vqa_run[0], weights=json.loads((vqa_run[0] / "results.json").read_text())["weights"] | {"clip": 0})
    assert "total with CLIP not counted" in report_of(vqa_run).text


def test_what_a_model_or_an_annotator_says_stays_text(vqa_run) -> None:
    folder, image_paths = vqa_run
    rows = [row | {"text": HOSTILE, "prediction": HOSTILE, "references": [HOSTILE] * 10} for row in read_rows(folder)]
    write_rows(folder, rows)
    (folder / "config.yaml").write_text(HOSTILE)
    change_results(folder, answers={HOSTILE: 3}, baselines={HOSTILE: 0.2})
    page = report_of((folder, image_paths))
    assert not page.all("script") and len(examples(page)) == 24
    assert page.text.count('<script>alert("x")</script>') == 24 * 3 + 3


def test_a_line_separator_in_an_answer_is_not_the_end_of_a_line(vqa_run) -> None:
    folder, image_paths = vqa_run
    write_rows(folder, [row | {"prediction": "one\u2028two\x85three"} for row in read_rows(folder)])
    assert "one" in report_of((folder, image_paths)).text


@pytest.mark.charts
def test_the_same_folder_gives_the_same_bytes(run) -> None:
    first = write_report(*run).read_bytes()
    assert write_report(*run).read_bytes() == first


def test_a_missing_and_a_broken_image_are_named_in_their_place(vqa_run) -> None:
    folder, image_paths = vqa_run
    missing, broken, unknown, *_ = (image["alt"].removeprefix("Test image ") for image in examples(report_of(vqa_run)))
    image_paths[missing].unlink()
    image_paths[broken].write_bytes(image_paths[broken].read_bytes()[:200])
    page = report_of((folder, {name: path for name, path in image_paths.items() if name != unknown}))
    assert len(examples(page)) == 21
    for name, reason in ((missing, "where there is none"), (broken, "wanted a whole"), (unknown, "not among the test")):
        assert f"no picture: {name} " in page.text and reason in page.text


def test_large_pictures_are_made_small(tmp_path: Path) -> None:
    Image.new("RGB", (1200, 900), "orange").save(tmp_path / "large.jpg")
    uri = thumbnail(tmp_path / "large.jpg")
    assert Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).size == (224, 168)


@pytest.mark.parametrize("name", ["results.json", "metrics.jsonl", "predictions.jsonl", "config.yaml"])
def test_an_unfinished_run_is_refused_by_the_name_of_what_it_lacks(vqa_run, name: str) -> None:
    folder, image_paths = vqa_run
    (folder / name).unlink()
    with pytest.raises(UnfinishedRun, match=f"wanted a finished run, given no {name}"):
        write_report(folder, image_paths)
    assert not (folder / "report.html").exists()


def test_a_cut_file_is_refused(vqa_run) -> None:
    folder, image_paths = vqa_run
    text = (folder / "predictions.jsonl").read_text()
    (folder / "predictions.jsonl").write_text(text[:-20])
    with pytest.raises(UnfinishedRun, match="wanted whole JSON files of a finished run, given"):
        write_report(folder, image_paths)


def rows_of(accuracies: list[float | None], kinds: int = 1) -> list[dict[str, Any]]:
    return [{"id": i, "image": f"{i // 2}.jpg", "question_type": str(i % kinds)} for i in range(len(accuracies))]


def test_right_and_wrong_answers_are_shown_as_far_as_there_are_any() -> None:
    accuracies = [1.0] * 900 + [0.0] * 60 + [0.3] * 40
    chosen = [accuracies[i] for i in choose(rows_of(accuracies), accuracies)]
    assert chosen == [0.0] * 9 + [0.3] * 3 + [1.0] * 12
    few = [1.0] * 500 + [0.0] * 2
    assert [few[i] for i in choose(rows_of(few), few)] == [0.0] * 2 + [1.0] * 22
    assert len(choose(rows_of([None] * 100), [None] * 100)) == 24
    assert sorted(choose(rows_of([1.0] * 5), [1.0] * 5)) == [0, 1, 2, 3, 4]
    assert choose([], []) == []


def test_the_choice_takes_types_in_turn_and_each_image_once() -> None:
    accuracies = [0.0] * 4000
    rows = rows_of(accuracies, kinds=8)
    chosen = [rows[i] for i in choose(rows, accuracies)]
    assert len({row["image"] for row in chosen}) == 24
    assert {kind: sum(row["question_type"] == str(kind) for row in chosen) for kind in range(8)} == dict.fromkeys(
        range(8), 3
    )


def test_marks_follow_the_protocol_of_the_run(vqa_run) -> None:
    folder, image_paths = vqa_run
    write_rows(folder, [row | {"prediction": "two", "references": ["two"] * 10} for row in read_rows(folder)])
    assert "80 are answered right, 0 partly right" in report_of(vqa_run).text
    assert vqa_accuracy("two", ["two"] * 10, "official-2017") == 0
    change_results(folder, protocol="official-2017")
    assert "0 are answered right, 0 partly right (some annotators said so) and 80 wrong" in report_of(vqa_run).text


def test_a_log_axis_counts_the_zeros_that_it_cannot_draw() -> None:
    chart = draw("gradient", {"dead": [(1, 0.0), (2, 0.0)], "alive": [(1, 0.5), (2, 0.0), (3, 5.0)]}, log=True)
    assert "dead: 0 to 0; 2 zeros not drawn" in chart.about and "alive: 0.5 to 5; 1 zeros not drawn" in chart.about


def test_values_that_are_not_finite_and_empty_logs_do_not_stop_a_chart() -> None:
    assert "loss: 2 to 2" in draw("loss", {"loss": [(1, float("nan")), (2, float("inf")), (3, 2.0)]}).about
    for empty in ({"loss": []}, {}):
        assert "nothing to draw" in draw("loss", empty, log=True).about


@pytest.mark.charts
def test_an_empty_log_is_said(vqa_run) -> None:
    (vqa_run[0] / "metrics.jsonl").write_text("")
    assert len([image for image in report_of(vqa_run).all("img") if "nothing to draw" in image["alt"]]) == 4


def test_durations_are_readable() -> None:
    assert [duration(seconds) for seconds in (0.04, 99.96, 100, 3725)] == [
        "0.0 s",
        "100.0 s",
        "1 min 40 s",
        "62 min 05 s",
    ]
