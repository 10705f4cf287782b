"""Answer rows of many callers in batches on one thread, whatever adapter each row names.

    submit: rows are checked and their pictures decoded on the caller's thread, then wait in the queue
    the model's thread: the oldest row and those that may share its batch, up to `max_batch` of them, once so many wait
    or the oldest has waited `max_wait`

A caller gets a future; cancelling it takes its rows out of the queue. What changes the model (`load`, `remove`,
`call`) runs between two batches. A row keeps the adapter that had its name when it came: the mapping of names is
replaced as a whole, its entries are shared, and a batch reads the entries of its own rows alone.
"""

import contextlib
import dataclasses
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from copy import copy
from pathlib import Path
from typing import Any

from dept_vl.data.carried import Loss
from dept_vl.model import BankEntry
from dept_vl.saved import SavedAdapter, read_any
from dept_vl.serve.adapted import AdaptedModel
from dept_vl.serve.asked import Asked, Kind, decoded, plan, with_sizes
from dept_vl.serve.named import NamedAdapters
from dept_vl.serve.rows import together
from dept_vl.serve.waiting import Request, WaitingRow, WaitingRows


class QueueFull(ValueError):
    """More rows than may wait. seconds: after which, as fast as rows went last, there may be room."""

    def __init__(self, waiting: int, given: int, most: int, seconds: float) -> None:
        super().__init__(waiting, given, most, seconds)
        self.waiting, self.given, self.most, self.seconds = waiting, given, most, seconds

    def __str__(self) -> str:
        return f"wanted at most {self.most:,} rows waiting, given {self.given:,} beside {self.waiting:,} that wait"


class EngineClosed(RuntimeError):
    """Rows, or a change of the model, for an engine that takes no more."""


@dataclasses.dataclass(frozen=True)
class Answered:
    """What one batch took. queued: seconds that each row waited; adapters: how many different ones. cut, altered: of
    its different texts, those that were too long, and those of which the tokenizer lacks something."""

    queued: tuple[float, ...]
    adapters: int
    seconds: float
    cut: int
    altered: int


@dataclasses.dataclass(frozen=True)
class _Known:
    """The adapters at one moment; never written, always replaced."""

    adapters: NamedAdapters
    entries: Mapping[str, BankEntry]


@dataclasses.dataclass(frozen=True, eq=False)
class _Call:
    function: Callable[[AdaptedModel], Any]
    future: Future[Any]


class AnswerEngine:
    """The queue in front of an `AdaptedModel`, which belongs to the engine's thread until `close`."""

    def __init__(
        self,
        model: AdaptedModel,
        *,
        max_batch: int = 64,
        max_wait: float = 0.002,
        max_queue: int = 1024,
        observe: Callable[[Answered], None] = lambda answered: None,
    ) -> None:
        """max_batch, max_queue: rows. max_wait: seconds. observe: called on the model's thread after each batch."""
        self._model, self._observe = model, observe
        self.max_batch, self.max_wait, self.max_queue = max_batch, max_wait, max_queue
        self._known = _snapshot(model)
        self._rows = WaitingRows()
        self._calls: deque[_Call] = deque()
        self._changed = threading.Condition()
        self._loading = threading.Lock()
        self._closing, self._pace = False, 0.02  # seconds a row, as the last batches took
        self._cut, self._altered = 0, 0  # of the batch that is being answered
        self._thread = threading.Thread(target=self._work, name="dept_vl-model", daemon=True)
        self._thread.start()

    @property
    def adapters(self) -> Mapping[str, SavedAdapter]:
        """What is loaded, by name."""
        return self._known.adapters.loaded

    @property
    def active(self) -> str | None:
        """The adapter of rows that name none."""
        return self._known.adapters.active

    @property
    def reads_images(self) -> bool:
        return self._model.tower is not None

    @property
    def waiting(self) -> int:
        """Rows in the queue."""
        return len(self._rows)

    @property
    def ready(self) -> bool:
        """Whether it takes rows and its thread answers them."""
        return self._thread.is_alive() and not self._closing

    def submit(
        self, kind: Kind, rows: Sequence[Asked], *, num_beams: int | None = None, max_new_tokens: int | None = None
    ) -> Future[list[str]]:
        """Answers to the rows in their order, each what `AdaptedModel` alone gives it. num_beams, max_new_tokens: in
        place of what each row's adapter records.

        Raises: WrongRows, WrongTask, UnknownAdapter, UnsupportedPicture, UnreadableImage; QueueFull, EngineClosed.
        """
        self._check_room(len(rows))  # before any picture is decoded
        known = self._known
        planned = plan(kind, [decoded(place, row, self._model) for place, row in enumerate(rows)], known.adapters)
        planned = [with_sizes(row, num_beams, max_new_tokens) for row in planned]
        request, now = Request(Future(), [""] * len(planned), len(planned)), time.monotonic()
        waiting = [
            WaitingRow(row, together(row, known.adapters), known.entries[row.adapter], request, now) for row in planned
        ]
        with self._changed:
            self._check_room(len(waiting))
            self._rows.add(waiting)
            self._changed.notify()
        if not waiting:
            request.future.set_result([])
        request.future.add_done_callback(lambda done: self._drop(request))
        return request.future

    def call(self, function: Callable[[AdaptedModel], Any]) -> Future[Any]:
        """The outcome of `function(model)`, run on the model's thread between two batches. Raises: EngineClosed."""
        future: Future[Any] = Future()
        with self._changed:
            self._check_open()
            self._calls.append(_Call(function, future))
            self._changed.notify()
        return future

    def load(self, name: str, folder: Path | str, check: Callable[[SavedAdapter], None] = lambda saved: None) -> None:
        """Add the adapter of a folder; it is read and folded on the caller's thread. check: may refuse what was read.

        Raises: BadAdapterFolder, MismatchedBackbone, WrongTask, UnknownAdapter; EngineClosed; what `check` raises.
        """
        with self._loading:  # a second one is checked against what the first brought
            self._known.adapters.check_free(name)
            saved = read_any(folder)
            check(saved)
            fitted = self._model.fit(saved, name)
            self._change(lambda model: model.join(name, fitted))

    def remove(self, name: str) -> None:
        """Take an adapter away. Rows that wait for it are answered. Raises: UnknownAdapter, EngineClosed."""
        self._known.adapters.find(name)
        self._change(lambda model: model.delete_adapter(name))

    def close(self, *, answer: bool = True) -> None:
        """Take no more rows and end the thread: once all that wait are answered, or with `answer` False at once, their
        futures cancelled."""
        with self._changed:
            self._closing = True
            left = [] if answer else self._rows.futures
            self._changed.notify()
        for future in left:
            future.cancel()
        self._thread.join()

    def _check_room(self, rows: int) -> None:
        self._check_open()
        if (waiting := len(self._rows)) + rows > self.max_queue:
            raise QueueFull(waiting, rows, self.max_queue, waiting * self._pace)

    def _check_open(self) -> None:
        if not self.ready:
            raise EngineClosed("wanted an engine that takes rows, given one that was closed")

    def _change(self, function: Callable[[AdaptedModel], None]) -> None:
        def change(model: AdaptedModel) -> None:
            function(model)
            self._known = _snapshot(model)

        self.call(change).result()

    def _note(self, texts: int, max_source_length: int, cut: int, loss: Loss) -> None:
        self._cut, self._altered = cut, loss.unknown + loss.altered

    def _drop(self, request: Request) -> None:
        """Its rows leave the queue: it was cancelled, or one of its batches failed."""
        if request.left:
            with self._changed:
                self._rows.drop(request)

    def _work(self) -> None:
        turn: _Call | list[WaitingRow] | None = []
        try:
            while (turn := self._next()) is not None:
                if isinstance(turn, _Call):
                    _settle(turn.future, turn.function, self._model)
                else:
                    self._answer(turn)
        finally:  # nobody waits for a thread that is gone, whatever ended it
            with self._changed:
                self._closing = True
                left = self._rows.futures + [each.future for each in self._calls]
                self._rows.clear()
            if turn is not None:
                left += [turn.future] if isinstance(turn, _Call) else [each.request.future for each in turn]
            for future in left:
                _fail(future, EngineClosed("the thread that answers has ended"))

    def _next(self) -> _Call | list[WaitingRow] | None:
        """The next change of the model, or the next batch once it is full or its oldest row has waited long enough;
        None at the end."""
        with self._changed:
            while True:
                if self._calls:
                    return self._calls.popleft()
                if not self._rows:
                    if self._closing:
                        return None
                    self._changed.wait()
                    continue
                left = self._rows.oldest + self.max_wait - time.monotonic()
                if left <= 0 or self._closing or len(self._rows) >= self.max_batch:
                    return self._rows.take(self.max_batch)
                self._changed.wait(left)

    def _answer(self, batch: list[WaitingRow]) -> None:
        began, model, self._cut, self._altered = time.monotonic(), self._model, 0, 0
        network, notice = model.network, model.notice
        bank, entries = network.bank, {each.row.adapter: each.entry for each in batch}
        network.bank, model.notice = entries, self._note  # a warning belongs to no caller, and would be kept for ever
        try:
            texts = model.answer_batch([each.row for each in batch], batch[0].key.inside)
        except Exception as error:
            requests = list(dict.fromkeys(each.request for each in batch))
            if len(requests) == 1:
                _fail(requests[0].future, error)
                return
            for request in requests:  # what one caller's rows break is that caller's alone
                self._answer([each for each in batch if each.request is request])
            return
        finally:
            network.bank, model.notice = bank, notice
        seconds = time.monotonic() - began
        self._pace = 0.8 * self._pace + 0.2 * seconds / len(batch)
        queued = tuple(began - each.since for each in batch)
        self._observe(Answered(queued, len(entries), seconds, self._cut, self._altered))
        for each, text in zip(batch, texts, strict=True):
            each.request.answers[each.row.place] = text
        for request, number in Counter(each.request for each in batch).items():
            request.left -= number
            if not request.left:
                _settle(request.future, lambda answers: answers, request.answers)


def _snapshot(model: AdaptedModel) -> _Known:
    adapters = copy(model.adapters)
    adapters.loaded = dict(adapters.loaded)
    return _Known(adapters, dict(model.network.bank))


def _settle(future: Future[Any], function: Callable[[Any], Any], argument: Any) -> None:
    """Give the future what the function returns or raises, unless it was cancelled."""
    if future.cancelled():
        return
    try:
        outcome = function(argument)
    except Exception as error:
        _fail(future, error)
        return
    with contextlib.suppress(InvalidStateError):  # it was cancelled meanwhile
        future.set_result(outcome)


def _fail(future: Future[Any], error: Exception) -> None:
    with contextlib.suppress(InvalidStateError):
        future.set_exception(error)
