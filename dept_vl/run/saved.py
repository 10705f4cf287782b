"""Scoring a saved adapter on a task: ours, PEFT's or the DePT authors', beside the frozen model that it names."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from dept_vl.config import AdapterConfig, BackboneConfig, Experiment, Score, TaskConfig, VisionConfig, load_experiment
from dept_vl.data.seeded_split import SHARES
from dept_vl.metrics.answers import AUTO, CHOSEN_BY_DATA, SCORES, TooManyAnswers
from dept_vl.metrics.vqa import TooFewAnswers
from dept_vl.run.assembly import build, start
from dept_vl.run.processes import together
from dept_vl.run.results import prediction_rows, write_predictions
from dept_vl.run.tasks import build_task, resolve
from dept_vl.saved import SavedAdapter, read_any, tower_of
from dept_vl.serve.rows import WrongTask
from dept_vl.tasks import OWN_TEXT, TASKS, Example, Task, TextTask, VqaTask
from dept_vl.threads import take_fitting_threads
from dept_vl.train.evaluate import histogram
from dept_vl.untrusted.whole_files import check_writable

NAMED = tuple(name for name in SCORES if name not in CHOSEN_BY_DATA)  # scores that were asked for


def score_adapter(
    adapter: str,
    task: str,
    root: str = "data",
    split: str = "test",
    protocol: str | None = None,
    label_form: Literal["digits", "words"] | None = None,
    decoding: Literal["score", "generate"] = "score",
    backbone: str | None = None,
    limit: int | None = None,
    batch_size: int = 256,
    bf16: bool | None = None,
    predictions: str | None = None,
    score: Score | None = None,
    columns: dict[str, str] | None = None,
    split_shares: tuple[float, ...] | None = None,
    image_root: str | None = None,
    on_bad_row: Literal["error", "skip"] = "error",
    load_in: Literal["int8", "int8_dynamic", "nf4"] | None = None,
) -> dict[str, Any]:
    """Scores a saved adapter on a task.

    Args:
        adapter: a run or adapter folder: ours, PEFT's PromptTuning, or DePT as its authors released it.
        task: the task's id, such as cola.
        root: folder of the data set, in the layout of data/README.md, or your own file; "shapes" for the generated
            sets, "hub" to fetch.
        split: train, val or test of the protocol; all for every row of your own file.
        protocol: the task's splits and scoring; null is what the adapter records for this task, or the task's first.
        label_form: digits or words; null is what the adapter records for this task, or the task's own.
        decoding: score chooses among the labels in one forward pass, generate decodes freely.
        backbone: a folder or name of the frozen language model, in place of the recorded name.
        limit: at most so many examples.
        batch_size: rows at once.
        bf16: compute in bfloat16 under autocast; null is as the run in this folder did, false where there is none.
        predictions: a JSONL file to write, a line per example.
        score: of vqa: auto goes by the answers; null is the one that the adapter records, or auto where it is one that
            goes by the answers (vqa_accuracy, exact_match, best_match) and these do not allow it.
        columns: of your own file, which column holds what; null is what the adapter records, or the usual names.
        split_shares: of your own data that says no splits, as in training; null is what the adapter records, or
            training's default.
        image_root: folder where the image paths of your own file start; null is the file's folder and its images/.
        on_bad_row: of your own file: error or skip.
        load_in: int8, int8_dynamic or nf4, in which the frozen language model's linear layers are; null is float32.
    """
    if predictions is not None:
        check_writable(Path(predictions))
    saved = read_any(Path(adapter))
    visual = TASKS[task].visual
    if visual and saved.projection is None:
        raise WrongTask(f"{adapter}: wanted an adapter that reads images for {task}, given one of text alone")
    left = [] if visual or saved.projection is None else ["the visual projection: this task reads no images"]
    if left:
        parts = {name: part for name, part in saved.parts.items() if name != "projection"}
        saved = SavedAdapter(parts, {**saved.config, "vision": None}, saved.card)
    bf16 = _precision(Path(adapter)) if bf16 is None else bf16
    config = _experiment(saved, task, root, split, protocol, label_form, decoding, backbone)
    given = {"score": score, "columns": columns, "on_bad_row": on_bad_row}
    given |= {"split_shares": split_shares, "image_root": image_root}
    given = {name: value for name, value in given.items() if value is not None}
    language = dataclasses.replace(config.backbone, load_in=load_in)
    config = dataclasses.replace(config, task=dataclasses.replace(config.task, **given), backbone=language)
    config = resolve(dataclasses.replace(config, per_device_eval_batch_size=batch_size, bf16=bf16, progress=False))
    with together(config):
        parts = build(config, start(config), {"test": (split, limit)}, saved=saved)
        take_fitting_threads(parts.network, device=parts.accelerator.device)
        answers = parts.predict("test")
    if score is None:
        parts.task = _as_recorded(parts.task, saved, parts.splits["test"].examples)
    if predictions is not None:
        write_predictions(Path(predictions), prediction_rows(parts.splits["test"].examples, answers, ("references",)))
    scores = parts.score("test", answers)
    return {
        "task": config.task.name,
        "split": split,
        "protocol": parts.task.protocol,
        "reported": parts.task.headline,
        **scores,
        "counts": parts.splits["test"].counts | parts.encoded["test"].counts,
        "answers": histogram(answers),
        "adapter": adapter,
        "not_used": left,
        "bf16": bf16,
        "backbone": parts.identities["backbone"],
    }


def _as_recorded(task: Task, saved: SavedAdapter, examples: Sequence[Example]) -> Task:
    """The task with the score that the adapter records, where the data of its run chose that and these allow it: the
    run chose it over more splits than the one that is scored now."""
    facts = saved.config["task"] or {}
    if not isinstance(task, VqaTask) or facts.get("name") != task.name or facts.get("score") not in CHOSEN_BY_DATA:
        return task
    try:
        return dataclasses.replace(task, metric=facts["score"]).suited(examples)
    except (TooFewAnswers, TooManyAnswers):
        return task


def _precision(folder: Path) -> bool:
    path = folder / "config.yaml"
    return path.is_file() and load_experiment(path).bf16


def _experiment(
    saved: SavedAdapter,
    task: str,
    root: str,
    split: str,
    protocol: str | None,
    label_form: Literal["digits", "words"] | None,
    decoding: Literal["score", "generate"],
    backbone: str | None,
) -> Experiment:
    """One config of what the adapter's folder records and the caller gives, which wins."""
    facts = saved.config["task"] or {}
    name = TASKS[task].name
    own = facts if facts.get("name") == name else {}
    given = TaskConfig(
        name=name,
        root=root,
        test_split=split,
        template=own.get("template"),
        protocol=protocol or own.get("protocol"),
        max_source_length=own.get("max_source_length"),
        max_target_length=own.get("max_target_length"),
        num_beams=own.get("num_beams", 1),
        decoding=decoding,
        label_form=label_form or _label_form(own, name),
        score=own["score"] if own.get("score") in NAMED else AUTO,
        answers=tuple(own.get("answers") or ()) or None,
        columns=own.get("columns") or {},
        split_shares=tuple(own.get("split_shares") or SHARES),
        labels=tuple(own["labels"].values()) or None if own and name == OWN_TEXT.name else None,
    )
    config = saved.config
    language = BackboneConfig(
        model_name_or_path=str(backbone or config["base_model_name_or_path"]),
        revision=None if backbone else config["revision"],
        kind="causal" if config["task_type"] == "CAUSAL_LM" else "seq2seq",
        pad_token=own.get("pad_token"),
        chat_template=own.get("chat_template", False),
    )
    experiment = Experiment(task=given, backbone=language, adapter=AdapterConfig(covers=config["covers"]))
    build_task(experiment)  # a protocol that the task has not, before any weight loads
    if config["vision"] is None:
        return experiment
    vision = VisionConfig(**tower_of(config["vision"]), token_order=",".join(config["token_order"]))
    return dataclasses.replace(experiment, vision=vision)


def _label_form(facts: dict[str, Any], name: str) -> Literal["digits", "words"] | None:
    task, labels = TASKS[name], facts.get("labels")
    if not labels or not isinstance(task, TextTask):
        return None
    names = tuple(labels.values()) if name == OWN_TEXT.name else task.label_names
    return "words" if tuple(labels) == names else "digits"
