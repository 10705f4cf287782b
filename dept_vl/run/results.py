"""Assemble results.json, and print it: the scores beside their baselines, counts, sizes, machine."""

import datetime
import json
import statistics
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from dept_vl.config import Experiment
from dept_vl.data.carried import WARN_ABOVE
from dept_vl.data.mixture import MixedExamples
from dept_vl.metrics.answers import AUTO, VQA_ACCURACY
from dept_vl.run import Parts, measure
from dept_vl.run.data_lines import data_facts
from dept_vl.run.losses import losses_as_json
from dept_vl.tasks.example import Example
from dept_vl.train import Trained
from dept_vl.train.evaluate import histogram
from dept_vl.untrusted.whole_files import write_files_whole

SINGLE, MULTI = "single-task", "multi-task"


def assemble(
    parts: Parts,
    trained: Trained,
    scores: dict[str, Any],
    baselines: dict[str, float],
    predictions: Mapping[Any, str],
    began: datetime.datetime,
    seconds: float,
) -> dict[str, Any]:
    """The content of results.json: our blocks first, then those of PEFT's method_comparison. `seconds`: of the run."""
    config, task, accelerator = parts.config, parts.config.task, parts.accelerator
    recorded = {} if parts.together else recorded_baselines(config, parts.identities)
    start, hashes = config.adapter.start, parts.network.adapter.sources
    weights = measure.count_weights(parts.network, parts.clip_weights)
    weights |= {"trained_per_task": weights["trained"] / max(len(parts.together), 1)}
    best = next((each for each in trained.evaluations if each["step"] == trained.best_step), None)
    return {
        "task": task.name,
        "adapter": config.adapter.name,
        "inside": config.inside.method,
        "trained_on": _trained_on(parts),
        "protocol": scores.get("protocol", f"coco-caption, beam {task.num_beams}"),
        "metrics": {"test": scores} | ({"val": best} if best else {}),
        "baselines": baselines | recorded,
        "recorded": sorted(recorded),
        "counts": {role: loaded.counts | parts.encoded[role].counts for role, loaded in parts.splits.items()},
        "data": data_facts(parts.splits),
        "not_carried": losses_as_json(parts.encoded),
        "weights": weights,
        "selection": {
            "metric": config.metric_for_best_model or parts.task.headline,
            "reported": parts.task.headline,
            "split": task.eval_split if best else None,
        },
        "started_from": {
            "folder": start.get("from"),
            "not_copied": list(parts.not_copied),
            "sources": [
                {"folder": folder, "sha256": each}
                for folder, each in zip(start.get("sources") or [], hashes, strict=True)
            ],
        },
        "labels": dict(parts.task.label_meanings),
        "seconds": parts.seconds,
        "compute": parts.choice.as_json() if parts.choice else None,
        "answers": histogram(predictions),
        "best_step": trained.best_step,
        "run_info": {
            "created_at": began.isoformat(timespec="seconds"),
            "total_time": round(seconds, 3),
            "experiment_name": Path(config.output_dir).name,
            "train_config": config.to_dict(),
            "peft_config": _arguments(parts),
            "error_msg": "",
        },
        "train_info": {
            "accelerator_memory_max": measure.peak_memory(accelerator.device),
            **_training(trained),
            "num_trainable_params": weights["trained"],
            "num_total_params": weights["total"],
            "status": "success",
            "metrics": trained.evaluations,
        },
        "meta_info": {
            "model_info": parts.identities,
            "dataset_info": {"root": task.root, "train": task.train_split, "test": task.test_split},
            "package_info": measure.packages(),
            "system_info": measure.machine(accelerator.device, accelerator.num_processes)
            | {"mixed_precision": "bf16" if parts.choice and parts.choice.compute.bf16 else "no"},
            "commit": measure.commit(),
        },
    }


def _trained_on(parts: Parts) -> dict[str, Any]:
    """Whether one task trained the adapter or several did together, and how often each of them was drawn."""
    if not parts.together:
        return {"regime": SINGLE, "tasks": [parts.task.name]}
    facts: dict[str, Any] = {"regime": MULTI, "tasks": list(parts.together)}
    if isinstance(train := parts.encoded.get("train"), MixedExamples):
        facts |= {"shares": dict(zip(train.names, train.shares, strict=True))}
    return facts


def _arguments(parts: Parts) -> dict[str, Any]:
    """Of the adapter, and behind "inside." those of what trains inside the frozen model."""
    inside = parts.network.parts["inside"].config() if "inside" in parts.network.parts else {}
    return parts.network.adapter.config() | {f"inside.{name}": value for name, value in inside.items()}


def _training(trained: Trained) -> dict[str, Any]:
    names = ("steps", "flops", "flops_full", "scoring_flops", "stages")
    return {
        "train_time": round(trained.train_seconds, 3),
        **{name: getattr(trained, name) for name in names},
        "steps_per_second": round(trained.steps / max(trained.train_seconds, 1e-9), 3),
    }


def prediction_rows(
    examples: Sequence[Example], predictions: Mapping[Any, str], fields: Sequence[str], **more: Any
) -> list[dict[str, Any]]:
    """A mapping per example: `more`, id, prediction and these fields of it."""
    return [
        {**more, "id": each.id, "prediction": predictions[each.id]} | {name: getattr(each, name) for name in fields}
        for each in examples
    ]


def write_predictions(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A JSON line per row."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_files_whole(path.parent, {path.name: text.encode("utf-8")})


def recorded_baselines(config: Experiment, identities: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Scores of recorded runs that belong beside one of this data, frozen models, budget and protocol: see
    docs/results.md."""
    task = config.task
    if "vision" not in identities or task.score not in (AUTO, VQA_ACCURACY):
        return {}
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
    records = json.loads(files("dept_vl.embedded").joinpath("recorded.json").read_text(encoding="utf-8"))
    return {each["name"]: each["score"] for each in records if each["facts"] == facts}


def summary(results: Mapping[str, Any]) -> str:
    """The score beside its baselines, x 100, as the scripts print it."""
    headline, test = results["selection"]["reported"], results["metrics"]["test"]
    lines = [f"{results['task']}: test {headline} x 100 ({results['protocol']})"]
    lines += [f"  {method_of(results):<16} {100 * test[headline]:6.2f}"]
    for name, value in results["baselines"].items():
        mark = "  (recorded, docs/results.md)" if name in results["recorded"] else ""
        lines.append(f"  {name:<16} {100 * value:6.2f}{mark}")
    for name, each in results.get("members", {}).items():
        beside = ", ".join(f"{baseline} {100 * value:.2f}" for baseline, value in each["baselines"].items())
        lines.append(f"    {name:<22} {100 * each['score']:6.2f}  {each['reported']} ({beside})")
    others = [name for name, value in test.items() if isinstance(value, float) and name != headline]
    lines += [f"    {name:<22} {100 * test[name]:6.2f}" for name in others]
    lines += [f"    {kind:<14} {100 * value:6.2f}" for kind, value in test.get("by_question_type", {}).items()]
    for role, counts in results["counts"].items():
        for name, count in counts.items():
            if count and (name.startswith(("dropped_", "skipped_")) or name.endswith(("_cut", "_unknown", "_altered"))):
                lines.append(f"  {role}: {name} {count:,}")
        for what, loss in results.get("not_carried", {}).get(role, {}).items():
            shown = ", ".join(f"{given!r} comes back as {back!r}" for given, back in loss["examples"])
            lines += [f"  {role}: {what}: {shown}"] if loss["share"] <= WARN_ABOVE else []  # else it is a warning
    if test.get("invalid_outputs"):
        lines.append(f"  {test['invalid_outputs']:,} outputs are no label")
    lines += [f"  warning: {each}" for each in test.get("warnings", [])]
    start = results["started_from"]
    lines += [f"  not copied from {start['folder']}: {each}" for each in start["not_copied"]]
    weights = results["weights"]
    share = f"{100 * weights['share']:.2f} %, CLIP not counted"
    of = f", {weights['trained_per_task']:,.0f} a task" if regime_of(results) == MULTI else ""
    lines.append(f"{regime_of(results)}: trained {weights['trained']:,} of {weights['total']:,} weights ({share}){of}")
    info = results["train_info"]
    lines.append(f"trained for {info['train_time']:.0f} s")
    if info.get("stages") and info["flops_full"]:
        share, scoring = (100 * each / info["flops_full"] for each in (info["flops"], info["scoring_flops"]))
        count = len(info["stages"])
        lines.append(
            f"{count} stages: {share:.1f} % of the whole model's operations, and {scoring:.1f} % to score neurons"
        )
    return "\n".join(lines)


def regime_of(results: Mapping[str, Any]) -> str:
    """ "single-task" or "multi-task"."""
    return results.get("trained_on", {}).get("regime", SINGLE)


def method_of(results: Mapping[str, Any]) -> str:
    """ "dept", "lora", or "dept + lora": what trained beside the frozen language model, the projection aside."""
    names = [name for name in (results["adapter"], results.get("inside")) if name not in (None, "none")]
    return " + ".join(names) or "none"


def overview(runs: Sequence[Mapping[str, Any]]) -> str:
    """One line per run, its score beside the commonest training answer's, x 100, and the mean of all."""
    lines = [f"{'task':<22} {'metric':<22} {'score':>7} {'majority':>9}   {SINGLE}, each task by itself"]
    pairs = []
    for each in runs:
        name = each["selection"]["reported"]
        pairs.append((each["metrics"]["test"][name], each["baselines"].get("majority")))  # captions have none
        lines.append(f"{each['task']:<22} {name:<22} {_points(pairs[-1][0]):>7} {_points(pairs[-1][1]):>9}")
    score, majority = zip(*pairs, strict=True)
    mean = None if None in majority else statistics.fmean(majority)
    lines.append(f"{'mean of ' + str(len(runs)):<45} {_points(statistics.fmean(score)):>7} {_points(mean):>9}")
    return "\n".join(lines)


def _points(score: float | None) -> str:
    return "-" if score is None else f"{100 * score:.2f}"
