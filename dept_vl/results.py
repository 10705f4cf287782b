"""results.json and what is printed of it: the scores beside their baselines, counts, sizes, machine."""

import datetime
import json
import time
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from dept_vl import measure
from dept_vl.config import Experiment
from dept_vl.evaluate import histogram
from dept_vl.experiment import Parts
from dept_vl.train import Trained


def assemble(
    parts: Parts,
    trained: Trained,
    scores: dict[str, Any],
    baselines: dict[str, float],
    predictions: Mapping[Any, str],
    began: float,
) -> dict[str, Any]:
    """The record of results.json: our blocks on top, PEFT's method_comparison blocks behind them."""
    config, accelerator = parts.config, parts.accelerator
    recorded = recorded_baselines(config, parts.identities)
    weights = measure.count_weights(parts.network, parts.clip_weights)
    best = next((each for each in trained.evaluations if each["step"] == trained.best_step), None)
    return {
        "task": config.task.name,
        "adapter": config.adapter.name,
        "protocol": scores.get("protocol", f"coco-caption, beam {config.task.num_beams}"),
        "metrics": {"test": scores} | ({"val": best} if best else {}),
        "baselines": baselines | recorded,
        "recorded": sorted(recorded),
        "counts": {role: loaded.counts | parts.encoded[role].counts for role, loaded in parts.splits.items()},
        "weights": weights,
        "seconds": parts.seconds,
        "answers": histogram(predictions),
        "best_step": trained.best_step,
        "run_info": {
            "created_at": datetime.datetime.fromtimestamp(began, datetime.UTC).isoformat(timespec="seconds"),
            "total_time": round(time.time() - began, 3),
            "experiment_name": Path(config.output_dir).name,
            "train_config": config.to_dict(),
            "peft_config": parts.network.adapter.config(),
            "error_msg": "",
        },
        "train_info": {
            "accelerator_memory_max": measure.peak_memory(accelerator.device),
            "train_time": round(trained.train_seconds, 3),
            "steps_per_second": round(trained.steps / max(trained.train_seconds, 1e-9), 3),
            "num_trainable_params": weights["trained"],
            "num_total_params": weights["total"],
            "status": "success",
            "metrics": trained.evaluations,
        },
        "meta_info": {
            "model_info": parts.identities,
            "dataset_info": {
                "root": config.task.root,
                "train": config.task.train_split,
                "test": config.task.test_split,
            },
            "package_info": measure.packages(),
            "system_info": {
                **measure.machine(accelerator.device, accelerator.num_processes),
                "mixed_precision": accelerator.mixed_precision,
            },
            "commit": measure.commit(),
        },
    }


def recorded_baselines(config: Experiment, identities: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Scores of recorded runs with this run's data, frozen models, budget and protocol; see docs/results.md."""
    task = config.task
    facts = {
        "task": task.name,
        "root": task.root,
        "test_split": task.test_split,
        "max_test_samples": task.max_test_samples,
        "protocol": task.protocol if task.name == "vqa" else f"beam {task.num_beams}",
        "max_steps": config.max_steps,
        "rows": config.per_device_train_batch_size * config.gradient_accumulation_steps,
        "backbone_sha256": identities["backbone"]["backbone_sha256"],
        "vision_weights_sha256": identities["vision"]["vision_weights_sha256"],
    }
    records = json.loads(files("dept_vl.assets").joinpath("recorded.json").read_text(encoding="utf-8"))
    return {each["name"]: each["score"] for each in records if each["facts"] == facts}


def summary(results: Mapping[str, Any]) -> str:
    """The score beside its baselines, x 100, as the scripts print it."""
    headline = {"vqa": "vqa_accuracy", "caption": "CIDEr"}[results["task"]]
    lines = [f"test {headline} x 100 ({results['protocol']})"]
    lines += [f"  {results['adapter']:<16} {100 * results['metrics']['test'][headline]:6.2f}"]
    for name, value in results["baselines"].items():
        mark = "  (recorded, docs/results.md)" if name in results["recorded"] else ""
        lines.append(f"  {name:<16} {100 * value:6.2f}{mark}")
    for kind, value in results["metrics"]["test"].get("by_question_type", {}).items():
        lines.append(f"    {kind:<14} {100 * value:6.2f}")
    for role, counts in results["counts"].items():
        for name, count in counts.items():
            if count and name.startswith(("dropped_", "sources_cut", "targets_cut")):
                lines.append(f"  {role}: {name} {count:,}")
    weights = results["weights"]
    share = f"{100 * weights['share']:.2f} %, CLIP not counted"
    lines.append(f"trained {weights['trained']:,} of {weights['total']:,} weights ({share})")
    lines.append(f"trained for {results['train_info']['train_time']:.0f} s")
    return "\n".join(lines)
