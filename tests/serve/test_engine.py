"""The queue before AdaptedModel: many callers, one thread, each row what it would get alone."""

import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor
from itertools import cycle, islice

import pytest
import torch

from dept_vl.adapters import build_adapter
from dept_vl.backbones import load_backbone
from dept_vl.saved import ModelFacts, read_any, save_adapter
from dept_vl.serve import AdaptedModel, UnknownAdapter, WrongRows
from dept_vl.serve.engine import AnswerEngine, Asked, EngineClosed, QueueFull
from dept_vl.vision import UnreadableImage
from tests.tiny_tunings import attached

QUESTIONS = ["what color is the circle ?", "what shape", "how many red", "is there a star on the left ?", "yes no"]
METHODS = ("dept", "pt", "dpt", "residual_pt", "adept", "attempt")  # the last two read the text, so they never fold
SST2 = {
    "name": "sst2", "protocol": "as_published", "template": "what {sentence}",
    "labels": {"yes": "true", "no": "false"},
}  # fmt: skip
SECONDS = 20  # a wait that ends long before unless something is stuck


@pytest.fixture
def model(save, load):
    model = load(save("dept"), adapter_name="dept")
    for seed, name in enumerate(METHODS[1:], 1):
        model.load_adapter(save(name, seed=seed), adapter_name=name)
    model.load_adapter(save("dept", "text", seed=9, visual=False), adapter_name="text")
    model.load_adapter(save("pt", "sst2", seed=10, visual=False, **SST2), adapter_name="sst2")
    return model


@pytest.fixture
def start():
    engines = []

    def start(model, **arguments):
        engines.append(AnswerEngine(model, **arguments))
        return engines[-1]

    yield start
    for engine in engines:
        engine.close(answer=False)


class Paused:
    """Within it the engine's thread answers nothing, so that rows wait."""

    def __init__(self, engine: AnswerEngine) -> None:
        self.engine, self.over = engine, threading.Event()

    def __enter__(self) -> "Paused":
        begun = threading.Event()
        self.engine.call(lambda model: (begun.set(), self.over.wait(SECONDS)))
        assert begun.wait(SECONDS)
        return self

    def __exit__(self, *error: object) -> None:
        self.over.set()


def test_rows_of_many_callers_get_what_the_model_alone_gives(model, start, pictures):
    names = [*METHODS, "text"] * 6
    asked = list(islice(cycle(QUESTIONS), len(names)))
    seen = [None if name == "text" else picture for name, picture in zip(names, cycle(pictures), strict=False)]
    alone = [model.answer([seen[k]], [asked[k]], [names[k]])[0] for k in range(len(names))]
    texts = [{"sentence": text} for text in QUESTIONS]
    classes = [model.classify([text], ["sst2"])[0] for text in texts]
    sizes = []
    engine = start(model, max_batch=16, observe=lambda done: sizes.append((len(done.queued), done.adapters)))
    with ThreadPoolExecutor(8) as callers:
        rows = [Asked(*row) for row in zip(names, seen, asked, strict=True)]
        futures = list(callers.map(lambda row: engine.submit("answer", [row]), rows))
        whole = engine.submit("answer", rows)
        labels = engine.submit("classify", [Asked("sst2", text=text) for text in texts])
        assert [future.result(SECONDS)[0] for future in futures] == alone
    assert whole.result(SECONDS) == alone and labels.result(SECONDS) == classes
    assert len(set(alone)) > 5 and set(classes) == {"true", "false"}, "answers that are alike test nothing"
    assert max(rows for rows, _ in sizes) == 16 and max(adapters for _, adapters in sizes) == len(METHODS) + 1


def test_rows_of_several_callers_share_a_batch(model, start):
    sizes = []
    engine = start(model, observe=lambda answered: sizes.append(answered))
    with Paused(engine):
        futures = [engine.submit("answer", [Asked("text", None, text)]) for text in QUESTIONS]
    assert all(future.result(SECONDS) for future in futures)
    assert [len(each.queued) for each in sizes] == [len(QUESTIONS)] and sizes[0].adapters == 1
    assert sizes[0].seconds > 0 and all(seconds > 0 for seconds in sizes[0].queued)


def test_a_row_waits_for_others_only_so_long(model, start):
    sizes = []
    engine = start(model, max_wait=0.4, max_batch=2, observe=lambda answered: sizes.append(len(answered.queued)))
    began = time.monotonic()
    first = engine.submit("answer", [Asked("text", None, "what")])
    first.result(SECONDS)
    assert time.monotonic() - began >= 0.4
    began = time.monotonic()
    full = engine.submit("answer", [Asked("text", None, "what")] * 2)
    full.result(SECONDS)
    assert time.monotonic() - began < 0.4 and sizes == [1, 2]


def test_beams_and_lengths_of_a_request(model, start, pictures):
    engine = start(model)
    rows = [Asked("text", None, text) for text in QUESTIONS]
    short = engine.submit("answer", rows, max_new_tokens=2).result(SECONDS)
    assert [len(text.split()) for text in short] == [2] * len(rows)
    own = engine.submit("answer", rows).result(SECONDS)
    assert engine.submit("answer", rows, num_beams=4).result(SECONDS) != own == engine.submit("answer", rows).result(9)


def test_bad_rows_are_refused_before_they_wait(model, start, pictures):
    engine = start(model)
    with pytest.raises(UnknownAdapter, match="'none'"):
        engine.submit("answer", [Asked("none", None, "what")])
    with pytest.raises(WrongRows, match="row 1: 'text' cannot see an image"):
        engine.submit("answer", [Asked("text", None, "what"), Asked("text", pictures[0], "what")])
    with pytest.raises(UnreadableImage, match="row 1"):
        engine.submit("caption", [Asked("dept", pictures[0]), Asked("dept", b"no picture")])
    assert engine.waiting == 0 and engine.submit("answer", []).result(SECONDS) == []


def test_a_picture_that_is_cut_is_found_before_its_row_waits(model, start, pictures, tmp_path):
    pictures[0].save(tmp_path / "whole.png")
    data = (tmp_path / "whole.png").read_bytes()
    engine = start(model)
    assert engine.submit("answer", [Asked("dept", data, "what")]).result(SECONDS)
    with pytest.raises(UnreadableImage):
        engine.submit("answer", [Asked("dept", data[: len(data) // 2], "what")])


def test_a_full_queue_refuses_and_recovers(model, start):
    engine = start(model, max_queue=3)
    with Paused(engine):
        futures = [engine.submit("answer", [Asked("text", None, "what")]) for _ in range(3)]
        with pytest.raises(QueueFull, match="at most 3 rows waiting, given 2 beside 3 that wait") as refused:
            engine.submit("answer", [Asked("text", None, "what")] * 2)
        assert refused.value.seconds > 0
    assert len({future.result(SECONDS)[0] for future in futures}) == 1
    assert engine.submit("answer", [Asked("text", None, "what")] * 3).result(SECONDS)


def test_a_cancelled_request_leaves_the_queue(model, start, monkeypatch):
    engine, answered = start(model, max_queue=4), []
    whole = model.answer_batch
    monkeypatch.setattr(model, "answer_batch", lambda rows, inside: answered.extend(rows) or whole(rows, inside))
    with Paused(engine):
        gone = engine.submit("answer", [Asked("text", None, "how many")] * 3)
        kept = engine.submit("answer", [Asked("text", None, "what")])
        assert gone.cancel() and engine.waiting == 1
        later = engine.submit("answer", [Asked("text", None, "what")] * 3)
    assert len({*kept.result(SECONDS), *later.result(SECONDS)}) == 1
    assert len(answered) == 4 and all("what" in row.source for row in answered)
    with pytest.raises(CancelledError):
        gone.result(0)


def test_rows_keep_the_adapter_that_had_the_name_when_they_came(model, start, save):
    rows = [Asked("text", None, text) for text in QUESTIONS]
    engine = start(model)
    before = engine.submit("answer", rows).result(SECONDS)
    folder = save("pt", "other", seed=5, visual=False)
    with ThreadPoolExecutor(1) as other, Paused(engine):
        waiting = engine.submit("answer", rows)
        changed = other.submit(lambda: (engine.remove("text"), engine.load("text", folder)))
        time.sleep(0.2)
        assert not changed.done() and engine.waiting == len(rows)
    changed.result(SECONDS)
    after = engine.submit("answer", rows).result(SECONDS)
    assert waiting.result(SECONDS) == before != after
    alone = model_of(engine)
    assert after == alone.answer(None, QUESTIONS, ["text"] * len(QUESTIONS))


def test_old_and_new_rows_of_one_name_stand_in_batches_of_their_own(model, start, save):
    """Both wait at once, and neither reads the other's prompt."""
    engine, sizes = start(model), []
    engine._observe = lambda answered: sizes.append(len(answered.queued))
    rows = [Asked("text", None, text) for text in QUESTIONS]
    before = engine.submit("answer", rows).result(SECONDS)
    fitted = model.fit(read_any(save("pt", "other", seed=5, visual=False)), "free")
    with Paused(engine):
        old = engine.submit("answer", rows)
        known = engine._known
        known.entries["text"], kept = fitted.entry, known.entries["text"]  # as a load in between would leave it
        new = engine.submit("answer", rows)
        known.entries["text"] = kept
    assert old.result(SECONDS) == before != new.result(SECONDS)
    assert sizes == [len(rows)] * 3


def test_an_adapter_that_was_removed_is_unknown(model, start):
    engine = start(model)
    engine.remove("text")
    assert "text" not in engine.adapters
    with pytest.raises(UnknownAdapter, match="'text'"):
        engine.submit("answer", [Asked("text", None, "what")])
    with pytest.raises(UnknownAdapter, match="'text'"):
        engine.remove("text")
    with pytest.raises(UnknownAdapter, match="'pt', which is taken"):
        engine.load("pt", "anything")


def test_another_adapter_rebuilds_none(model, start, save):
    engine = start(model)
    before = dict(engine._known.entries)
    engine.load("more", save("pt", "more", seed=3))
    assert {name: engine._known.entries[name] for name in before} == before
    assert all(engine._known.entries[name] is entry for name, entry in before.items())


def test_a_refused_adapter_changes_nothing(model, start, save):
    def refuse(saved):
        raise ValueError("not this one")

    engine = start(model)
    with pytest.raises(ValueError, match="not this one"):
        engine.load("more", save("pt", "more", seed=3), refuse)
    assert "more" not in engine.adapters


def test_what_trains_inside_the_model_acts_in_its_own_rows_alone(model, start, t5_folder, tmp_path):
    own = load_backbone(str(t5_folder))
    tuning = attached("lora", own, random=True)
    with torch.no_grad():
        for weight in tuning.parameters():
            weight.mul_(20)  # enough that answers differ
    facts = {
        "name": "vqa", "template": "vqa: {question}", "protocol": "official-2021", "max_source_length": 12,
        "max_target_length": 6, "num_beams": 1, "labels": {}, "pad_token": None,
    }  # fmt: skip
    parts = {"adapter": build_adapter("none", torch.zeros(0, own.d_model), {}), "inside": tuning}
    card = ModelFacts("lora")
    save_adapter(tmp_path / "lora", parts, backbone_identity=own.identity(), task=facts, card=card)
    engine = start(model)
    rows = [Asked(name, None, text) for text in QUESTIONS for name in ("text", "lora")]
    plain = engine.submit("answer", rows[::2]).result(SECONDS)
    engine.load("lora", tmp_path / "lora")
    mixed = engine.submit("answer", rows).result(SECONDS)
    assert mixed[::2] == plain and mixed[1::2] != plain
    assert mixed[1::2] == [engine.submit("answer", [row]).result(SECONDS)[0] for row in rows[1::2]]
    with ThreadPoolExecutor(1) as other, Paused(engine):
        waiting = engine.submit("answer", rows)  # for an adapter that is gone before their batch begins
        removed = other.submit(engine.remove, "lora")
        time.sleep(0.1)
        assert not removed.done()
    removed.result(SECONDS)
    assert waiting.result(SECONDS) == mixed


def test_one_callers_broken_rows_are_his_alone(model, start, monkeypatch):
    whole = model.answer_batch

    def breaking(rows, inside):
        if any("star" in row.source for row in rows):
            raise RuntimeError("broken")
        return whole(rows, inside)

    engine = start(model)
    good = engine.submit("answer", [Asked("text", None, "what shape")]).result(SECONDS)
    monkeypatch.setattr(model, "answer_batch", breaking)
    with Paused(engine):
        asked = ("what shape", "star", "what shape")
        futures = [engine.submit("answer", [Asked("text", None, text)]) for text in asked]
    assert futures[0].result(SECONDS) == futures[2].result(SECONDS) == good
    with pytest.raises(RuntimeError, match="broken"):
        futures[1].result(SECONDS)
    assert engine.ready


def test_closing_answers_what_waits_and_takes_no_more(model, start):
    engine = start(model)
    with Paused(engine):
        future = engine.submit("answer", [Asked("text", None, text) for text in QUESTIONS])
        closing = threading.Thread(target=engine.close)
        closing.start()
        end = time.monotonic() + SECONDS
        while engine.ready and time.monotonic() < end:
            time.sleep(0.01)
        with pytest.raises(EngineClosed):
            engine.submit("answer", [Asked("text", None, "what")])
        with pytest.raises(EngineClosed):
            engine.remove("text")
    closing.join(SECONDS)
    assert len(future.result(0)) == len(QUESTIONS) and not engine.ready


def test_closing_at_once_cancels_what_waits(model, start):
    engine = start(model)
    with Paused(engine) as paused:
        future = engine.submit("answer", [Asked("text", None, "what")])
        closing = threading.Thread(target=engine.close, kwargs={"answer": False})
        closing.start()
        with pytest.raises(CancelledError):
            future.result(SECONDS)
        paused.over.set()
        closing.join(SECONDS)
    assert not closing.is_alive()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_nobody_waits_for_a_thread_that_has_died(model, start, monkeypatch):
    def dying(rows, inside):
        raise SystemExit

    engine = start(model)
    monkeypatch.setattr(model, "answer_batch", dying)
    with Paused(engine):
        future = engine.submit("answer", [Asked("text", None, "what")])
        later = engine.submit("classify", [Asked("sst2", text="what")])
    for each in (future, later):
        with pytest.raises(EngineClosed, match="has ended"):
            each.result(SECONDS)
    assert not engine.ready


def model_of(engine: AnswerEngine) -> AdaptedModel:
    return engine.call(lambda model: model).result(SECONDS)
