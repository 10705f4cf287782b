"""What a run says of its data before it trains: the sizes, what is cut, and what stands on two sides."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dept_vl.data.batches import Encoded
from dept_vl.data.sources import Loaded
from dept_vl.data.survey import also_in_train
from dept_vl.run.parts import Parts
from dept_vl.tasks import VqaTask

Report = Callable[[str], None]

_LISTED = 20  # rows that were left out and stand in results.json


def report_notes(loaded: Iterable[Loaded], report: Report) -> None:
    """Each note once: the splits of one root have them in common."""
    for note in dict.fromkeys(note for each in loaded for note in each.notes):
        report(note)


def data_lines(parts: Parts) -> list[str]:
    """A line each; of a mixture each task's, with its name in front."""
    if parts.members:
        return [f"{each.task.name}: {line}" for each in parts.members for line in data_lines(each)]
    sizes = ", ".join(f"{role} {len(each.examples):,}" for role, each in parts.splits.items())
    lines = [f"examples: {sizes}; scored by {parts.task.headline}"]
    lines += _chosen(parts)
    lines += _cut(parts.encoded, parts.config.task.max_source_length, parts.config.task.max_target_length)
    return [*lines, *_twice(parts.splits)]


def data_facts(splits: Mapping[str, Loaded]) -> dict[str, Any]:
    """For results.json: what was understood of own data and left out, and how many examples stand in train too."""
    first = next(iter(splits.values()))
    skipped = [dict(each) for each in first.skipped[:_LISTED]]
    return {"notes": list(first.notes), "skipped": skipped, "also_in_train": also_in_train(splits)}


def _chosen(parts: Parts) -> list[str]:
    """How far a list of answers goes: no answer outside it can be right."""
    task = parts.task
    if not isinstance(task, VqaTask) or not task.candidates:
        return []
    found = [f"{role} {task.answerable(each.examples):,}" for role, each in parts.splits.items()]
    return [f"answers are chosen among {len(task.candidates):,}; questions with one of them: {', '.join(found)}"]


def _cut(encoded: Mapping[str, Encoded], most_source: int, most_target: int) -> list[str]:
    found = []
    for role, each in encoded.items():
        counts = each.counts
        if counts["sources_cut"] or counts["targets_cut"]:
            found.append(f"{role} {counts['sources_cut']:,} and {counts['targets_cut']:,}")
    limits = f"max_source_length {most_source} and max_target_length {most_target}"
    if not found:
        return [f"no text is longer than {limits}"]
    return [f"different sources and targets cut by {limits}: {'; '.join(found)} (prepare_data.py proposes lengths)"]


def _twice(splits: Mapping[str, Loaded]) -> list[str]:
    found = [f"{count:,} of {role}'s {len(splits[role].examples):,}" for role, count in also_in_train(splits).items()]
    return [f"examples that stand in train too: {', '.join(found)}"] if found else []
