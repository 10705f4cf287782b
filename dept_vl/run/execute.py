"""Run one experiment, from config to run folder: train, evaluate, baselines, results, adapter, report."""

import contextlib
import dataclasses
import datetime
import errno
import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from dept_vl.config import Experiment
from dept_vl.run import Parts, build, check, fit, measure, resolve, start, start_trackers, together
from dept_vl.run.data_lines import Report, data_lines
from dept_vl.run.fitting import settled
from dept_vl.run.mixed import assemble_all, keep_predictions
from dept_vl.run.own_data import write_skipped
from dept_vl.run.parts import timed
from dept_vl.run.report import write_report
from dept_vl.saved.adapter_folder import save_adapter
from dept_vl.saved.card import ModelFacts
from dept_vl.tasks import VqaTask
from dept_vl.train import Trained
from dept_vl.train.resumable import find_checkpoints
from dept_vl.untrusted.folder_lock import FolderInUse, only_run
from dept_vl.untrusted.whole_files import write_files_whole

RESULTS, CONFIG = "results.json", "config.yaml"
_OWN = re.compile(r"\..+\.(tmp|running)")  # half-written files of a killed run, and the lock


class OccupiedFolder(ValueError):
    """An output folder that holds something else than a run."""


def run_each(config: Experiment, report: Report | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Run each task of `config.task.name` (separated by commas); yield its folder and results on the main process.

    Several tasks have a folder each below `output_dir`, and a results.json there with all of them. All are checked
    before the first one trains. report: see `run`.
    """
    names = [config.task.name] if config.task.mixture else config.task.name.split(",")
    runs = [
        dataclasses.replace(
            config,
            output_dir=str(Path(config.output_dir) / name) if len(names) > 1 else config.output_dir,
            task=dataclasses.replace(config.task, name=name),
        )
        for name in (each.strip() for each in names)
    ]
    if len(runs) > 1 and config.resume_from_checkpoint == "last":
        runs = _where_they_stand(runs)
    for each in runs:
        check(each)
        refuse_read_only(Path(each.output_dir), resumed=each.resume_from_checkpoint is not None)
    done = []
    with alone_in(Path(config.output_dir), start(config)) if len(runs) > 1 else contextlib.nullcontext():
        for each in runs:
            ended = len(runs) > 1 and config.resume_from_checkpoint is not None and each.resume_from_checkpoint is None
            results = run(each, last=each is runs[-1], take_finished=ended, report=report)
            if results:
                done.append(results)
                yield each.output_dir, results
        if len(done) > 1:
            text = json.dumps({"tasks": done}, indent=2) + "\n"
            write_files_whole(Path(config.output_dir), {RESULTS: text.encode("utf-8")})


def _where_they_stand(runs: Sequence[Experiment]) -> list[Experiment]:
    """Tasks that have no checkpoint begin anew, or have ended, where another one has some."""
    begun = [bool(find_checkpoints(Path(each.output_dir) / "checkpoints")) for each in runs]
    ended = [(Path(each.output_dir) / RESULTS).exists() for each in runs]
    if not any(begun) and not any(ended):
        return list(runs)
    return [
        each if has else dataclasses.replace(each, resume_from_checkpoint=None)
        for each, has in zip(runs, begun, strict=True)
    ]


def run(
    config: Experiment,
    *,
    last: bool = True,
    take_finished: bool = False,
    baselines: bool = True,
    report: Report | None = None,
) -> dict[str, Any] | None:
    """Train and score `config`; return what results.json holds on the main process, which alone writes.

    An earlier run in the same folder is moved aside to <folder>.1, .2, ... unless it is resumed. `last` false keeps the
    processes together for another run. `take_finished`: return what a finished run in the folder came to. `baselines`:
    whether to score constant and blind answers beside the model's. `report` gets a sentence each about how own data was
    understood, and about what is cut or stands twice.

    Raises: LostProcess where another process of the run ends or cannot be reached, FolderInUse where another run works
    in the folder, OccupiedFolder, OSError for one that cannot be written, and what a component raises.
    """
    check(config)
    config = resolve(config)
    folder, resumed = Path(config.output_dir), config.resume_from_checkpoint is not None
    refuse_occupied(folder, resumed=resumed)
    refuse_read_only(folder, resumed=resumed)
    with together(config):
        accelerator = start(config)
        with alone_in(folder, accelerator):
            if take_finished and (folder / RESULTS).exists():
                found = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
                return found if accelerator.is_main_process else None
            return _run(config, accelerator, folder, last, baselines, report)


def _run(
    config: Experiment, accelerator: Accelerator, folder: Path, last: bool, baselines: bool, report: Report | None
) -> dict[str, Any] | None:
    began, clock = datetime.datetime.now(datetime.UTC), time.perf_counter()  # the second ignores changes of the first
    task = config.task
    splits = {
        "train": (task.train_split, task.max_train_samples),
        "eval": (task.eval_split, task.max_eval_samples),
        "test": (task.test_split, task.max_test_samples),
    }
    parts = build(config, accelerator, splits, report=report)
    config = parts.config  # with what it left to the language model
    with timed(parts.seconds, "choose"):
        parts = settled(parts)
    if accelerator.is_main_process:  # only now: a run whose data or models cannot be read leaves an earlier run alone
        moved = prepare_folder(folder, resumed=config.resume_from_checkpoint is not None)
        if moved is not None and report:
            report(f"the earlier run of {folder} is now {moved}")
        write_skipped((split for each in parts.members or (parts,) for split in each.splits.values()), folder)
        write_config(parts.choice.recorded(config), folder)
        for line in (*data_lines(parts), *parts.choice.lines()) if report else ():
            report(line)
    accelerator.wait_for_everyone()
    start_trackers(config, accelerator)
    early: dict[Any, str] = {}  # of a partial model, which is there as long as its stage
    of_part = config.progressive.evaluate == "part"
    with timed(parts.seconds, "train"):
        trained = fit(parts, folder, (lambda: early.update(parts.predict("test"))) if of_part else None)
    with timed(parts.seconds, "evaluate"):
        predictions = early or parts.predict("test")
        if accelerator.is_main_process:  # before anything else can fail
            keep_predictions(parts, predictions, folder)
        scores = parts.score("test", predictions)
    with timed(parts.seconds, "baselines"):
        members = parts.members or (parts,)
        beside = {each.task.name: score_baselines(each) if baselines else {} for each in members}
    results = assemble_all(parts, trained, scores, beside, predictions, began, time.perf_counter() - clock)
    if accelerator.is_main_process:
        for place, each in enumerate(parts.members):
            write_config(parts.choice.recorded(each.config), Path(each.config.output_dir))
            _save(each, results[each.task.name], trained, place)
        _save(parts, results[parts.task.name], trained)  # a run counts as finished when these are there
        write_report(folder, image_paths=parts.splits["test"].image_paths)
    accelerator.wait_for_everyone()
    if last:
        accelerator.end_training()
    else:
        for tracker in accelerator.trackers:
            tracker.finish()
    return results[parts.task.name] if accelerator.is_main_process else None


@contextlib.contextmanager
def alone_in(folder: Path, accelerator: Accelerator) -> Iterator[None]:
    """Lock the run folder for the processes of this run: the main one takes the lock, and all raise if it cannot.

    Raises: FolderInUse, OSError.
    """
    with contextlib.ExitStack() as held:
        refusal: Exception | None = None
        if accelerator.is_main_process:
            try:
                held.enter_context(only_run(folder))
            except (FolderInUse, OSError) as error:
                refusal = error
        [refusal] = broadcast_object_list([refusal])
        if refusal is not None:
            raise refusal
        yield


def refuse_read_only(folder: Path, *, resumed: bool) -> None:
    """Raises: PermissionError naming the folder that a run would have to write to and cannot."""
    needed = [next(each for each in (folder, *folder.parents) if each.exists())]
    if not resumed and _has_files(folder):  # an earlier run, to be moved aside
        needed.append(folder.parent)
    for each in needed:
        if not os.access(each, os.W_OK):
            raise PermissionError(errno.EACCES, f"wanted a folder that can be written, for the run {folder}", str(each))


def _has_files(folder: Path) -> bool:
    return folder.exists() and not all(_OWN.fullmatch(path.name) for path in folder.iterdir())


def refuse_occupied(folder: Path, *, resumed: bool) -> None:
    """Raises: OccupiedFolder for a folder that holds files but no run."""
    if not resumed and _has_files(folder) and not (folder / CONFIG).exists():
        raise OccupiedFolder(f"{folder}: wanted an empty folder or an earlier run, given other files")


def prepare_folder(folder: Path, *, resumed: bool) -> Path | None:
    """Make the run folder; returns where an earlier run was moved to. Raises: OccupiedFolder."""
    refuse_occupied(folder, resumed=resumed)
    moved = None
    if not resumed and _has_files(folder):
        number = next(n for n in range(1, 1 << 30) if not folder.with_name(f"{folder.name}.{n}").exists())
        moved = folder.rename(folder.with_name(f"{folder.name}.{number}"))
    folder.mkdir(parents=True, exist_ok=True)
    return moved


def score_baselines(parts: Parts) -> dict[str, float]:
    """The headline score of constant answers, and of the trained model with its visual tokens zeroed."""
    train, val, test = (parts.splits[role].examples for role in ("train", "eval", "test"))
    answers = parts.task.constant_answers(train, val, test)
    if parts.task.visual:
        answers["blind"] = parts.predict("test", blind=True)
    return {name: parts.score("test", each, quick=True)[parts.task.headline] for name, each in answers.items()}


def write_config(config: Experiment, folder: Path) -> None:
    """Write config.yaml, the resolved experiment, which `--config` reads back; versions and commit as comments."""
    versions = ", ".join(f"{name.removesuffix('-version')} {each}" for name, each in measure.packages().items())
    head = f"# commit {measure.commit()}, seed {config.seed}\n# {versions}\n"
    text = head + yaml.safe_dump(json.loads(json.dumps(config.to_dict())), sort_keys=False)
    write_files_whole(folder, {CONFIG: text.encode("utf-8")})


def _save(parts: Parts, results: dict[str, Any], trained: Trained, place: int | None = None) -> None:
    """The adapter and results.json. `place`: of a task in its mixture; its folder gets what serves that task alone."""
    folder, file_size = Path(parts.config.output_dir), 0
    if parts.config.max_steps:
        file_size = _save_adapter(folder, parts, results, trained, place)
    results["train_info"]["file_size"] = file_size
    write_files_whole(folder, {RESULTS: (json.dumps(results, indent=2) + "\n").encode("utf-8")})


def _save_adapter(folder: Path, parts: Parts, results: dict[str, Any], trained: Trained, place: int | None) -> int:
    """Returns the bytes of its weights."""
    own = dict(parts.network.parts.items())
    if place is not None:
        own = {name: part.for_task(place) for name, part in own.items()}
    save_adapter(
        folder,
        own,
        backbone_identity=parts.identities["backbone"],
        vision_identity=parts.identities.get("vision"),
        covers=parts.network.covers,
        task_type=parts.network.backbone.task_type,
        order=parts.network.order,
        task=None if parts.members else _task_facts(parts),
        card=_card(parts, results),
        joined_parts=trained.joined_parts,
    )
    return (folder / "adapter_model.safetensors").stat().st_size


def _task_facts(parts: Parts) -> dict[str, Any]:
    task, data = parts.config.task, parts.splits["test"]
    more = {}
    if isinstance(parts.task, VqaTask):
        more = {"score": parts.task.metric}
        more |= {"answers": list(parts.task.candidates)} if parts.task.candidates else {}
    more |= {"columns": dict(data.columns)} if data.columns else {}
    more |= {"split_shares": list(data.shares)} if data.shares else {}
    return {
        "name": task.name,
        "template": parts.task.template,
        "protocol": parts.task.protocol,
        "max_source_length": task.max_source_length,
        "max_target_length": task.max_target_length,
        "num_beams": task.num_beams,
        "labels": parts.task.label_meanings,
        "pad_token": parts.config.backbone.pad_token,
        "chat_template": parts.config.backbone.chat_template,
        **more,
    }


def _card(parts: Parts, results: Mapping[str, Any]) -> ModelFacts:
    config, info = parts.config, results["train_info"]
    task, scores = config.task, results["metrics"]["test"]
    rows = config.per_device_train_batch_size * config.gradient_accumulation_steps * parts.accelerator.num_processes
    return ModelFacts(
        name=Path(config.output_dir).name,
        dataset="Shapes (generated)" if task.root == "shapes" else parts.task.hub or Path(task.root).name,
        split=task.test_split,
        metrics={name: value for name, value in scores.items() if isinstance(value, float)},
        protocol=results["protocol"],
        training={
            "tasks": f"{', '.join(results['trained_on']['tasks'])} ({results['trained_on']['regime']})",
            "steps": info["steps"],
            "rows per step": rows,
            "seed": config.seed,
            "learning rates": ", ".join(f"{name} {rate:g}" for name, rate in config.optim.lr.items()),
            "seconds": round(info["train_time"]),
            "trained weights": f"{results['weights']['trained']:,}",
        },
    )
