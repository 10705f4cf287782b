"""Row 20: calls whose rows each ask an adapter of their own, among 100 and among 1,000 that are loaded.

Theirs: PEFT's PromptTuning of 100 tokens; the rows of one adapter go together, behind a `set_adapter`. Ours: one call
of `AdaptedModel` with `adapter_names`, DePT m=40 of the same number of weights. Adapters are drawn at random for each
row, anew in each call; texts have MNLI's lengths.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from peft import PeftModel, PromptTuningConfig, PromptTuningInit, TaskType, get_peft_model

from benchmarks.inference import AS_TRAINED, randomised
from benchmarks.lengths import SOURCE_LENGTH, WORDS, glue_lengths, word_tokenizer
from benchmarks.setting import Setting
from benchmarks.shapes import PROMPT, dept, t5, t5_model
from benchmarks.table import Line, Measured, Target
from benchmarks.timing import Run, Times, interleave, inverse, ratio
from dept_vl.backbones import Backbone
from dept_vl.saved import ModelFacts, save_adapter
from dept_vl.serve import AdaptedModel

ROWS, NUMBERS, FOLDERS = 64, (100, 1000), 20
LABELS = {"w0": "no", "w1": "yes"}
Asked = tuple[list[str], list[str]]
"""Texts, and the adapter of each."""


def bank(setting: Setting) -> Measured:
    """PEFT's time / ours for the same rows, and rows a second with 1,000 adapters / with one, for the shape of the
    quickstart's model, and with `large` for T5-small's. Random weights never say the end: theirs generate as many
    tokens as a trained model does; ours choose the label, or generate as many."""
    shapes = ["tiny"] if setting.tiny else ["tiny-t5", *([setting.t5] if setting.large else [])]
    lines, seconds = [], {}
    for shape in shapes:
        found, seconds[shape] = _shape(shape, setting.lasting(setting.seconds / len(shapes)))
        lines += found
    return Measured(lines, seconds, {"rows": ROWS, "folders": FOLDERS, "tokens": AS_TRAINED})


def _shape(shape: str, setting: Setting) -> tuple[list[Line], Times]:
    few, many = (3, 5) if setting.tiny else NUMBERS
    rows = 4 if setting.tiny else ROWS
    names, texts = [f"adapter_{number}" for number in range(many)], _texts(rows, setting)
    theirs = _prompt_tunings(t5_model(shape, setting), names).to(setting.device).eval()
    with TemporaryDirectory() as folder:
        ours = _adapted(t5(shape, setting), names, Path(folder), setting)

    def by_group(asked: Asked) -> object:
        return _by_group(theirs, ours.tokenizer, asked, setting)

    answer: dict[str, Callable[[Asked], object]] = {
        "PEFT": by_group,
        "classify": lambda asked: ours.classify(*asked),
        "generate": lambda asked: ours.generate(*asked),
    }
    asked = {(what, number): answer[what] for number in (few, many) for what in answer} | {
        ("one", 1): answer["classify"]
    }
    runs: dict[str, Run] = {}
    for (what, number), run in asked.items():
        calls = _calls(texts, names[:number], setting)
        runs[f"{what}, {number}"] = [lambda run=run, calls=calls: run(next(calls))]
    times = interleave(runs, seconds=setting.seconds, device=setting.device, least=setting.least)
    lines = []
    for number in (few, many):
        peft = times[f"PEFT, {number}"]
        for what, target in (("classify", Target(">=", 10)), ("generate", None)):
            gained = ratio(peft, times[f"{what}, {number}"])
            lines.append(Line(f"{shape}, {number} adapters, PEFT's set_adapter / our {what}", gained, target))
    same = ratio(times["one, 1"], times[f"classify, {many}"])
    lines.append(Line(f"{shape}, rows a second, {many} adapters / one", same, Target(">=", 0.9)))
    for what in ("PEFT", "classify"):
        rate = inverse(times[f"{what}, {many}"], rows)
        lines.append(Line(f"{shape}, {what}, {many} adapters", rate, None, "samples/s"))
    return lines, times


def _texts(rows: int, setting: Setting) -> list[str]:
    rng = np.random.default_rng([setting.seed, 20])
    lengths = glue_lengths("mnli", rows, setting.seed, setting.lengths)
    return [" ".join(f"w{word}" for word in rng.integers(0, WORDS, length - 1)) for length in lengths]


def _calls(texts: list[str], names: Sequence[str], setting: Setting) -> Iterator[Asked]:
    rng = np.random.default_rng(setting.seed)
    return ((texts, [names[place] for place in rng.integers(0, len(names), len(texts))]) for _ in itertools.count())


def _prompt_tunings(model: torch.nn.Module, names: Sequence[str]) -> PeftModel:
    config = PromptTuningConfig(
        task_type=TaskType.SEQ_2_SEQ_LM,
        num_virtual_tokens=PROMPT,
        num_transformer_submodules=1,
        prompt_tuning_init=PromptTuningInit.RANDOM,
        inference_mode=True,
    )
    found = get_peft_model(model, config, adapter_name=names[0])
    for name in names[1:]:
        found.add_adapter(name, config)
    return found


def _adapted(backbone: Backbone, names: Sequence[str], folder: Path, setting: Setting) -> AdaptedModel:
    """Every name has an adapter of its own, read from one of FOLDERS folders in turn."""
    model, number = AdaptedModel(backbone, word_tokenizer()), min(FOLDERS, len(names))
    task = {
        "name": "sst2", "template": "{sentence}", "protocol": "as_published", "max_source_length": SOURCE_LENGTH,
        "max_target_length": AS_TRAINED, "num_beams": 1, "labels": LABELS, "pad_token": None,
    }  # fmt: skip
    for seed in range(number):
        save_adapter(
            folder / str(seed),
            {"adapter": randomised(dept(backbone, setting, 40), seed).adapter},
            backbone_identity=backbone.identity(),
            vision_identity=None,
            covers="text",
            task=task,
            card=ModelFacts(str(seed)),
        )
    for place, name in enumerate(names):
        model.load_adapter(folder / str(place % number), name)
    return model


@torch.no_grad()
def _by_group(model: PeftModel, tokenizer: Callable, asked: Asked, setting: Setting) -> list[str]:
    texts, names = asked
    answers = [""] * len(texts)
    groups: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        groups.setdefault(name, []).append(row)
    for name, rows in groups.items():
        model.set_adapter(name, inference_mode=True)
        given = tokenizer([texts[row] for row in rows], padding=True, return_tensors="pt").to(setting.device)
        ids = model.generate(
            input_ids=given["input_ids"], attention_mask=given["attention_mask"], max_new_tokens=AS_TRAINED
        )  # fmt: skip
        for row, text in zip(rows, tokenizer.batch_decode(ids, skip_special_tokens=True), strict=True):
            answers[row] = text
    return answers
