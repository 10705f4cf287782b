"""Everything a run is made of, built and fitting together; and how it answers and scores a split."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from accelerate import Accelerator

from dept_vl.config import Experiment
from dept_vl.data.batches import Encoded, Gather
from dept_vl.data.mixture import MixedExamples
from dept_vl.data.sources import Loaded
from dept_vl.data.text_splits import published_split
from dept_vl.data.tokenizer import Tokenizer
from dept_vl.model import Network
from dept_vl.run.compute import Choice
from dept_vl.run.losses import loss_warnings
from dept_vl.tasks import CaptionTask, Mixture, Task, TextTask
from dept_vl.train.evaluate import Decoding, predict


def answers_to(task: str, predictions: Mapping[Any, str]) -> dict[Any, str]:
    """By id: those to one task of a mixture's predictions."""
    return {id: text for (name, id), text in predictions.items() if name == task}


@contextlib.contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[stage] = round(seconds.get(stage, 0.0) + time.perf_counter() - began, 3)


@dataclasses.dataclass
class Parts:
    """What `build` gives."""

    config: Experiment
    accelerator: Accelerator
    task: Task | Mixture
    tokenizer: Tokenizer
    network: Network
    identities: dict[str, dict[str, Any]]  # "backbone" and, where images are read, "vision"
    splits: dict[str, Loaded]
    encoded: Mapping[str, Encoded]
    gather: Gather | None  # None: text alone
    clip_weights: int  # of the image tower, which is not kept
    not_copied: tuple[str, ...]  # of the adapter that this one started from
    seconds: dict[str, float]  # by stage
    together: tuple[str, ...] = ()  # the tasks that train together with this one; () where it trains alone
    choice: Choice | None = None  # how the run computes, once that is settled
    members: tuple["Parts", ...] = ()  # of a mixture: each task's own, which share the network

    def decoding(self) -> Decoding:
        task = self.config.task
        return Decoding(
            max_new_tokens=task.max_target_length,
            num_beams=task.num_beams,
            candidates=self.task.candidates,
            free=task.decoding == "generate",
        )

    def predict(self, split: str, *, blind: bool = False) -> dict[Any, str]:
        """Answers by id; of a mixture by task and id."""
        if self.members:
            by_task = {each.task.name: each.predict(split, blind=blind) for each in self.members}
            return {(task, id): text for task, answers in by_task.items() for id, text in answers.items()}
        return predict(
            self.accelerator,
            self.network,
            self.tokenizer,
            self.encoded[split],
            self.gather,
            self.decoding(),
            batch_size=self.config.per_device_eval_batch_size,
            progress=self.config.progress,
            blind=blind,
        )

    def score(self, split: str, predictions: Mapping[Any, str], *, quick: bool = False) -> dict[str, Any]:
        """`quick`: captions by CIDEr alone, since METEOR starts java for seconds each time."""
        if self.members:
            by_task = {each.task.name: answers_to(each.task.name, predictions) for each in self.members}
            return self.task.combine(
                {each.task.name: each.score(split, by_task[each.task.name], quick=quick) for each in self.members}
            )
        loaded, task = self.splits[split], self.task
        if quick and isinstance(task, CaptionTask):
            task = dataclasses.replace(task, metrics=(task.headline,))
        scores = task.score(predictions, loaded.examples, split_size=loaded.counts["in_split"])
        more = [*self._not_whole(split), *loss_warnings(self.encoded)]
        return {**scores, "warnings": [*scores["warnings"], *more]} if "warnings" in scores else scores

    def _not_whole(self, split: str) -> list[str]:
        """A published split with rows missing is another split, for its permutation differs."""
        if not isinstance(self.task, TextTask) or not self.task.source.whole:
            return []
        role = {"train": self.config.task.train_split, "eval": self.config.task.eval_split}.get(split)
        published = published_split(self.task.splits, role or self.config.task.test_split)
        read, whole = self.splits[split].counts["read"], self.task.source.whole.get(published)
        if whole in (None, read):
            return []
        return [f"{published}: {read:,} of the published {whole:,} rows were read: this is not the published split"]


def mix(config: Experiment, members: Sequence[Parts]) -> Parts:
    """A mixture's parts of those of its tasks, whose places in it their encoded examples name."""
    names, given = tuple(each.task.name for each in members), config.task.sampling
    members = tuple(dataclasses.replace(each, together=names) for each in members)
    roles = members[0].splits
    law = {name: getattr(given, name) for name in ("temperature", "limit", "tasks_per_batch")}
    return dataclasses.replace(
        members[0],
        config=config,
        task=Mixture(tuple(each.task for each in members)),
        splits={role: _joined([each.splits[role] for each in members]) for role in roles},
        encoded={
            role: MixedExamples({each.task.name: each.encoded[role] for each in members}, given.by, **law)
            for role in roles
        },
        members=members,
    )


def _joined(splits: Sequence[Loaded]) -> Loaded:
    """The examples of all tasks one after another, and their counts summed up."""
    names = dict.fromkeys(name for each in splits for name in each.counts)
    return Loaded(
        [example for each in splits for example in each.examples],
        {name: sum(each.counts.get(name, 0) for each in splits) for name in names},
        {image: path for each in splits for image, path in each.image_paths.items()},
        tuple(dict.fromkeys(note for each in splits for note in each.notes)),
        tuple(row for each in splits for row in each.skipped),
    )
