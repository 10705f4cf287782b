"""The model card: what a stranger needs to know of an adapter, and the YAML header that the hub reads."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from string import Formatter
from typing import Any

import yaml

_HUB_TASKS = {"vqa": "visual-question-answering", "caption": "image-to-text"}

_USE = {
    "visual-question-answering": 'model.answer(["photo.jpg"], ["what color is the train?"])',
    "image-to-text": 'model.caption(["photo.jpg"])',
    "text-classification": "model.classify([{row}])",
    "text-generation": "model.generate([{row}])",
}


@dataclass(frozen=True)
class ModelFacts:
    """What the card needs beside the adapter's config.

    metrics: fractions by name. protocol: how they were scored. training: lines of the training table, such as
    steps, seed and seconds. notes: Markdown paragraphs behind it. license: of the weights, as the hub names it; theirs
    who trained them to say, so a card has none by itself.
    """

    name: str
    dataset: str | None = None
    split: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    protocol: str | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    notes: str = ""
    license: str | None = None


def model_card(config: Mapping[str, Any], facts: ModelFacts) -> str:
    """README.md for an adapter of this config."""
    task, kind = (config.get("task") or {}).get("name"), _hub_task(config)
    bases = [config["base_model_name_or_path"]]
    if config["vision"] is not None:
        bases.append(vision_hub_name(config["vision"]))
        if second := config["vision"].get("vision_second"):
            bases.append(vision_hub_name(second))
    header: dict[str, Any] = {
        "base_model": bases,
        "library_name": "dept_vl",
        "tags": ["dept_vl", *_methods(config), *([task] if task else [])],
    }
    if facts.license is not None:
        header["license"] = facts.license
    if kind is not None:
        header["pipeline_tag"] = kind
    if facts.metrics:
        header["metrics"] = sorted(facts.metrics)
        header["model-index"] = [_model_index(kind, facts)]
    if facts.protocol:
        header["protocol"] = facts.protocol
    parts = (_summary(config, bases), _scores(facts), _training(facts), facts.notes.strip(), _usage(config))
    body = [f"# {facts.name}", *parts]
    front = yaml.safe_dump(header, sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n\n" + "\n\n".join(part for part in body if part) + "\n"


def _methods(config: Mapping[str, Any]) -> list[str]:
    return [config["parts"][part]["name"] for part in ("adapter", "inside") if part in config["parts"]]


def vision_hub_name(config: Mapping[str, Any]) -> str:
    """The tower's name in the form of a model id, without the folders of the machine that trained."""
    name, tag = str(config["vision_model_name"]), config.get("vision_pretrained")
    kind = config.get("vision_kind", "open_clip")
    if name.startswith("hf-hub:"):
        return name.removeprefix("hf-hub:")
    if name.startswith("local-dir:"):
        return name.rstrip("/").rsplit("/", 1)[-1].removeprefix("local-dir:")
    if kind == "timm":
        return f"timm/{name}"
    if kind == "transformers":  # ORG/NAME, or a folder
        return name if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name) else name.rstrip("/").rsplit("/", 1)[-1]
    return f"{name.replace('/', '-')}/{tag}" if tag and "/" not in tag else name.replace("/", "-")


def _model_index(kind: str | None, facts: ModelFacts) -> dict[str, Any]:
    dataset = facts.dataset or "unnamed"
    source = {"type": dataset, "name": dataset, **({"split": facts.split} if facts.split else {})}
    scores = [{"type": name, "value": float(value)} for name, value in sorted(facts.metrics.items())]
    return {"name": facts.name, "results": [{"task": {"type": kind or "other"}, "dataset": source, "metrics": scores}]}


def _summary(config: Mapping[str, Any], bases: list[str]) -> str:
    adapter = config["parts"]["adapter"]
    sizes = [f"{name} {value}" for name, value in adapter["args"].items() if value is not None]
    inside = config["parts"].get("inside")
    with_inside = f" with {inside['name']} inside it" if inside else ""
    beside = {1: "the frozen model is", 2: "both frozen models are"}.get(len(bases), "all frozen models are")
    return (
        f"An adapter ({adapter['name']}{': ' if sizes else ''}{', '.join(sizes)}) for the frozen "
        f"{' and '.join(bases)}{with_inside}. It holds trained weights only; "
        f"{beside} loaded beside it, and loading refuses "
        "others than those whose hashes stand in adapter_config.json."
    )


def _scores(facts: ModelFacts) -> str:
    if not facts.metrics:
        return ""
    where = ", ".join(part for part in (facts.dataset, facts.split) if part) or "an unnamed split"
    protocol = f", protocol {facts.protocol}" if facts.protocol else ""
    rows = [f"| {name} | {100 * value:.2f} |" for name, value in sorted(facts.metrics.items())]
    return "\n".join([f"Scores on {where}{protocol}:", "", "| metric | x100 |", "|---|---|", *rows])


def _training(facts: ModelFacts) -> str:
    if not facts.training:
        return ""
    rows = [f"| {name} | {value} |" for name, value in facts.training.items()]
    return "\n".join(["| training | |", "|---|---|", *rows])


def _usage(config: Mapping[str, Any]) -> str:
    kind, name, load = _hub_task(config), "load_adapter", ['adapter = load_adapter("this/folder")']
    if kind in _USE:
        fields = (name for _, name, _, _ in Formatter().parse(config["task"]["template"]) if name)
        row = "{" + ", ".join(f'"{each}": "..."' for each in fields) + "}"
        name, load = "AdaptedModel", ['model = AdaptedModel.from_pretrained("this/folder")', _USE[kind].format(row=row)]
    return "\n".join(["```python", f"from dept_vl import {name}", "", *load, "```"])


def _hub_task(config: Mapping[str, Any]) -> str | None:
    """The hub's word for what the adapter does; None where its task is not known."""
    task = config.get("task")
    if task is None or task["name"] in _HUB_TASKS:
        return None if task is None else _HUB_TASKS[task["name"]]
    return "text-classification" if task["labels"] else "text-generation"
