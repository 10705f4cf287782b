"""A comparison's runs as records of PEFT's method_comparison, so that its app can show them.

One JSON file a run with the blocks run_info, train_info and meta_info, and the keys that the app reads
(huggingface/peft, method_comparison/processing.py): the last entry of `metrics` has "test accuracy", which is the
task's reported score, as a fraction, whatever its name ("metric" says it). What a run does not know is null where the
app allows it and 0 where it wants a whole number. Memory is known at its peak alone, which stands for all three.
"""

import io
import json
import lzma
import tarfile
from collections.abc import Mapping
from typing import Any

from dept_vl.plans.table import Outcome, Table
from dept_vl.run.results import method_of

_VERSIONS = ("transformers", "peft", "datasets", "bitsandbytes", "torch")


def peft_records(table: Table) -> dict[str, str]:
    """File name to content, a record for each finished run of the compared cells."""
    cells = {cell.name for cell in table.plan.compared()}
    found = {}
    for outcome in table.outcomes:
        if outcome.place.cell in cells:
            record = peft_record(outcome, table.plan.name, table.forgotten.get(outcome.place))
            found[f"{outcome.place.run}.json"] = json.dumps(record, indent=2) + "\n"
    return found


def archive(files: Mapping[str, str]) -> bytes:
    """A .tar.xz of them, the same for the same files: several hundred records are much alike."""
    made = io.BytesIO()
    with lzma.LZMAFile(made, "w") as packed, tarfile.TarFile(fileobj=packed, mode="w") as tar:
        for name, text in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(content := text.encode())
            tar.addfile(entry, io.BytesIO(content))
    return made.getvalue()


def unpacked(content: bytes) -> dict[str, str]:
    """What `archive` packed."""
    with lzma.LZMAFile(io.BytesIO(content)) as packed, tarfile.TarFile(fileobj=packed) as tar:
        return {entry.name: tar.extractfile(entry).read().decode() for entry in tar}


def peft_record(outcome: Outcome, plan: str, forgetting: float | None) -> dict[str, Any]:
    """The record of a run."""
    results, place = outcome.results, outcome.place
    run, train, meta = (results[name] for name in ("run_info", "train_info", "meta_info"))
    config, memory = run["train_config"], int(train.get("accelerator_memory_max") or 0)
    rows = train["steps"] * config["per_device_train_batch_size"] * config["gradient_accumulation_steps"]
    log = outcome.log()
    last = {
        "step": train["steps"],
        "test accuracy": outcome.test,
        "metric": results["selection"]["reported"],
        "train loss": next((line["loss"] for line in reversed(log) if "loss" in line), float("nan")),
        "train samples": rows,
        "train total tokens": int(train.get("train_tokens") or 0),
    }
    if forgetting is not None:
        last["forgetting"] = forgetting
    return {
        "run_info": {
            **run,
            "experiment_name": f"{place.cell}/{place.task}-seed{place.seed}",
            "peft_branch": "dept_vl",
            "train_config": {**config, "model_id": config["backbone"]["model_name_or_path"]},
            "peft_config": {"peft_type": method_of(results).upper().replace(" ", ""), **run["peft_config"]},
        },
        "train_info": {
            "accelerator_memory_reserved_avg": memory,
            "accelerator_memory_reserved_99th": memory,
            **train,
            "accelerator_memory_max": memory,
            "metrics": [*train["metrics"], last],
        },
        "meta_info": {
            **meta,
            "package_info": {**{f"{name}-version": None for name in _VERSIONS}, **meta["package_info"]},
            "dataset_info": {**meta["dataset_info"], "plan": plan},
        },
    }
