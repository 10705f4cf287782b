"""One run from config to run folder: train, evaluate, baselines, results, the adapter, the report."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from dept_vl import measure
from dept_vl.checkpoint.adapter_folder import save_adapter
from dept_vl.checkpoint.card import ModelFacts
from dept_vl.checkpoint.whole_files import write_files_whole
from dept_vl.config import Experiment
from dept_vl.evaluate import best_constant_caption, majority_answers
from dept_vl.experiment import Parts, build, check, fit, start, start_trackers
from dept_vl.report import write_report
from dept_vl.results import assemble

RESULTS, PREDICTIONS, CONFIG = "results.json", "predictions.jsonl", "config.yaml"


class OccupiedFolder(ValueError):
    """An output folder that holds something else than a run."""


def run(config: Experiment) -> dict[str, Any] | None:
    """Trains and scores `config`; returns what results.json holds on the main process, which alone writes.

    An earlier run in the same folder is moved aside to <folder>.1, .2, ... unless it is resumed.
    """
    check(config)
    began = time.time()
    folder = Path(config.output_dir)
    refuse_occupied(folder, resumed=config.resume_from_checkpoint is not None)
    accelerator = start(config)
    task = config.task
    parts = build(
        config,
        accelerator,
        {
            "train": (task.train_split, task.max_train_samples),
            "eval": (task.eval_split, task.max_eval_samples),
            "test": (task.test_split, task.max_test_samples),
        },
    )
    if accelerator.is_main_process:  # only now: what cannot be read or loaded leaves an earlier run in its place
        prepare_folder(folder, resumed=config.resume_from_checkpoint is not None)
        write_config(config, folder)
    accelerator.wait_for_everyone()
    start_trackers(config, accelerator)
    clock = time.perf_counter()
    trained = fit(parts, folder)
    parts.seconds["train"] = round(time.perf_counter() - clock, 3)
    clock = time.perf_counter()
    predictions = parts.predict("test")
    scores = parts.score("test", predictions)
    parts.seconds["evaluate"] = round(time.perf_counter() - clock, 3)
    clock = time.perf_counter()
    baselines = score_baselines(parts)
    parts.seconds["baselines"] = round(time.perf_counter() - clock, 3)
    results = assemble(parts, trained, scores, baselines, predictions, began)
    if accelerator.is_main_process:
        _write_predictions(parts, predictions, folder)
        _save_adapter(parts, results, folder)
        results["train_info"]["file_size"] = (folder / "adapter_model.safetensors").stat().st_size
        write_files_whole(folder, {RESULTS: (json.dumps(results, indent=2) + "\n").encode("utf-8")})
        write_report(folder, image_paths=parts.splits["test"].image_paths)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return results if accelerator.is_main_process else None


def refuse_occupied(folder: Path, *, resumed: bool) -> None:
    """Raises: OccupiedFolder for a folder that holds files but no run."""
    if not resumed and folder.exists() and any(folder.iterdir()) and not (folder / CONFIG).exists():
        raise OccupiedFolder(f"{folder}: wanted an empty folder or an earlier run, given other files")


def prepare_folder(folder: Path, *, resumed: bool) -> None:
    """Makes the run folder, moving an earlier run aside. Raises: OccupiedFolder."""
    refuse_occupied(folder, resumed=resumed)
    if not resumed and folder.exists() and any(folder.iterdir()):
        number = next(n for n in range(1, 1 << 30) if not folder.with_name(f"{folder.name}.{n}").exists())
        folder.rename(folder.with_name(f"{folder.name}.{number}"))
    folder.mkdir(parents=True, exist_ok=True)


def score_baselines(parts: Parts) -> dict[str, float]:
    """What the score is read against: a constant answer, and the trained model without its eyes."""
    headline, test = parts.task.headline, parts.splits["test"].examples
    if headline == "vqa_accuracy":
        constant = {"majority": majority_answers(parts.splits["train"].examples, test)}
    else:
        caption = best_constant_caption(parts.splits["train"].examples, parts.splits["eval"].examples)
        constant = {"constant": {example.id: caption for example in test}}
    constant["blind"] = parts.predict("test", blind=True)
    return {name: parts.score("test", answers, quick=True)[headline] for name, answers in constant.items()}


def write_config(config: Experiment, folder: Path) -> None:
    """config.yaml: the resolved experiment, which `--config` takes again; what ran it stands in comments."""
    versions = ", ".join(f"{name.removesuffix('-version')} {each}" for name, each in measure.packages().items())
    head = f"# commit {measure.commit()}, seed {config.seed}\n# {versions}\n"
    text = head + yaml.safe_dump(json.loads(json.dumps(config.to_dict())), sort_keys=False)
    write_files_whole(folder, {CONFIG: text.encode("utf-8")})


def _write_predictions(parts: Parts, predictions: Mapping[Any, str], folder: Path) -> None:
    rows = [
        {
            "id": example.id,
            "prediction": predictions[example.id],
            "references": list(example.references),
            "image": example.image,
            "text": example.text,
            "question_type": example.question_type,
        }
        for example in parts.splits["test"].examples
    ]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_files_whole(folder, {PREDICTIONS: lines.encode("utf-8")})


def _save_adapter(parts: Parts, results: Mapping[str, Any], folder: Path) -> None:
    config, scores = parts.config, results["metrics"]["test"]
    task = config.task
    save_adapter(
        folder,
        parts.network.adapter,
        parts.network.projection,
        backbone_identity=parts.identities["backbone"],
        vision_identity=parts.identities["vision"],
        task={
            "name": task.name,
            "template": parts.task.template,
            "protocol": results["protocol"],
            "max_source_length": task.max_source_length,
            "max_target_length": task.max_target_length,
            "num_beams": task.num_beams,
        },
        card=ModelFacts(
            name=folder.name,
            dataset="Shapes (generated)" if task.root == "shapes" else Path(task.root).name,
            split=task.test_split,
            metrics={name: value for name, value in scores.items() if isinstance(value, float)},
            protocol=results["protocol"],
            training={
                "steps": config.max_steps,
                "rows per step": config.per_device_train_batch_size
                * config.gradient_accumulation_steps
                * parts.accelerator.num_processes,
                "seed": config.seed,
                "learning rates": ", ".join(f"{name} {rate:g}" for name, rate in config.optim.lr.items()),
                "seconds": round(results["train_info"]["train_time"]),
                "trained weights": f"{results['weights']['trained']:,}",
            },
        ),
    )
