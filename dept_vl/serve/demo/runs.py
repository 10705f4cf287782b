"""Load the adapters of run folders for the page; those of one frozen model share it, and the engine in front of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any

from dept_vl.saved import BadAdapterFolder, MismatchedBackbone, read_any
from dept_vl.saved.files import CONFIG, read_config
from dept_vl.serve.adapted import AdaptedModel
from dept_vl.serve.engine import AnswerEngine
from dept_vl.serve.rows import WrongTask

REPORT = "report.html"
PICTURE_TASKS = ("vqa", "caption")
PROJECTION_ONLY = "none"  # the adapter of a run in which the projection alone trained


@dataclass(frozen=True)
class LoadedRun:
    """An adapter on the page. name: in its model and on the page. engine: the only one that asks the model. report: of
    its run, None where there is none."""

    name: str
    model: AdaptedModel
    engine: AnswerEngine
    report: Path | None = None

    @property
    def config(self) -> dict[str, Any]:
        return self.engine.adapters[self.name].config

    @property
    def task(self) -> dict[str, Any]:
        return self.config["task"]

    @property
    def about(self) -> str:
        """What trained: "dept", "none + lora", or "projection only"."""
        parts = self.config["parts"]
        names = [parts[each]["name"] for each in ("adapter", "inside") if each in parts]
        return "projection only" if names == [PROJECTION_ONLY] else " + ".join(names)

    @property
    def sees(self) -> bool:
        return "projection" in self.config["parts"]

    @property
    def fields(self) -> list[str]:
        """The fields of the task's template, in their order."""
        return list(dict.fromkeys(name for _, name, _, _ in Formatter().parse(self.task["template"]) if name))


def load_runs(
    folders: Sequence[Path | str],
    device: str = "cpu",
    backbone: str | None = None,
    vision: str | None = None,
    *,
    say: Callable[[str], None],
) -> list[LoadedRun]:
    """The adapters of these folders, and of the folders in them where they have none themselves.

    Raises: BadAdapterFolder, WrongTask, and what `AdaptedModel` raises for a frozen model that is absent or another.
    """
    loaded: list[LoadedRun] = []
    for folder in [each for given in folders for each in adapter_folders(Path(given))]:
        saved = read_any(folder)
        if saved.config["task"] is None:
            raise WrongTask(f"{folder}: wanted an adapter whose config records its task, given one that records none")
        name = _free_name(folder.resolve(), [each.name for each in loaded])
        say(f"loading {folder} as {name}")
        if (other := _joined(folder, name, loaded)) is not None:
            model, engine = other.model, other.engine
        else:
            model = AdaptedModel.from_pretrained(folder, device, backbone, vision, adapter_name=name)
            engine = AnswerEngine(model)
        report = folder / REPORT
        loaded.append(LoadedRun(name, model, engine, report if report.is_file() else None))
    return loaded


def adapter_folders(folder: Path) -> list[Path]:
    """The folder itself, or those in it that hold an adapter, by name."""
    if (folder / CONFIG).is_file():
        return [folder]
    return sorted(each.parent for each in folder.glob(f"*/{CONFIG}")) or [folder]


def projection_only_beside(folder: Path) -> Path | None:
    """A folder beside this run's whose run trained the projection alone, for the same task and frozen models."""
    own = _trained_for(folder)
    others = (each.parent for each in sorted(folder.absolute().parent.glob(f"*/{CONFIG}")))
    return next((each for each in others if own and _trained_for(each, alone=True) == own), None)


def _trained_for(folder: Path, *, alone: bool = False) -> tuple[Any, ...] | None:
    """Task and frozen models of a run that reads images; None: it reads none, or (`alone`) more trained than the
    projection, or the folder cannot be read."""
    try:
        config = read_config(folder)
        parts, vision, task = config["parts"], config["vision"], config["task"]
        if alone and ("inside" in parts or parts["adapter"]["name"] != PROJECTION_ONLY):
            return None
        return task["name"], config["backbone_sha256"], vision["vision_weights_sha256"]
    except (BadAdapterFolder, KeyError, TypeError):
        return None


def _joined(folder: Path, name: str, loaded: Sequence[LoadedRun]) -> LoadedRun | None:
    """One whose model takes the adapter of the folder, and now has it. None: none does."""
    for each in {each.engine: each for each in loaded}.values():
        try:
            each.engine.load(name, folder)
        except (MismatchedBackbone, WrongTask):
            continue
        return each
    return None


def _free_name(folder: Path, taken: Sequence[str]) -> str:
    for name in (folder.name, f"{folder.parent.name}-{folder.name}"):
        if name not in taken:
            return name
    return next(name for number in range(2, len(taken) + 3) if (name := f"{folder.name}-{number}") not in taken)
