"""Forgetting: how much a trained adapter moves the frozen model's loss on held-out plain text that it never trained on.

    forgetting = loss(second half | first half, adapter on) - loss(second half | first half, frozen model alone)

in nats per token, as PEFT's method_comparison measures it on Wikipedia. A paragraph of a text file is cut in the
middle: the model reads the first half and is scored on the second, which suits encoder-decoders too (the language-model
adaptation of Lester et al. 2021). tiny-t5 was never taught prose, so for it the text "shapes" stands for what it was
pretrained on: questions in its own wordings about held-out scenes told in words.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dept_vl.config import Experiment, load_experiment
from dept_vl.data.batches import EncodedExamples
from dept_vl.data.tokenizer import Tokenizer
from dept_vl.embedded.pretraining.language import ASKED, question_lesson
from dept_vl.embedded.shapes.world import sample_scene
from dept_vl.model import BASE, Network
from dept_vl.run.components import load_language
from dept_vl.saved import read_any
from dept_vl.tasks.example import Example

SHAPES = "shapes"  # in place of a file's name
ROWS = 256
_WORDS = (16, 64)  # fewest of a paragraph that is used, most of each half
_TOKENS = 128  # most of each half
_BATCH = 32
_FROZEN: dict[str, float] = {}
"""Losses of frozen models in this process, which are the same for all adapters of one."""


class NoText(ValueError):
    """A text file without paragraphs to measure on."""


@dataclass(frozen=True)
class Forgetting:
    """Nats per token of the target, averaged over the rows."""

    frozen: float
    adapted: float
    rows: int

    @property
    def change(self) -> float:
        return self.adapted - self.frozen


def measure_forgetting(folder: Path, text: str, *, rows: int = ROWS) -> Forgetting:
    """Of a finished run's adapter, on `text`, a file's name or "shapes".

    Raises: BadAdapterFolder, NoText, OSError.
    """
    config, saved = load_experiment(folder / "config.yaml"), read_any(folder)
    pairs = shapes_pairs(rows) if text == SHAPES else halves(Path(text), rows)
    tokenizer, backbone = load_language(config)
    key = json.dumps([backbone.identity(), text, rows, config.bf16], sort_keys=True)
    if key not in _FROZEN:
        _FROZEN[key] = _loss(Network(backbone, {}).eval(), tokenizer, pairs, config, BASE)
    if saved.inside is not None:
        saved.inside.attach(backbone)
    network = Network(backbone, saved.parts, covers=saved.config["covers"]).eval()
    return Forgetting(_FROZEN[key], _loss(network, tokenizer, pairs, config, None), len(pairs))


def halves(path: Path, rows: int) -> list[tuple[str, str]]:
    """The first `rows` paragraphs of a text file that are long enough, each cut in the middle. Raises: NoText."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.split()
        if len(words) >= _WORDS[0] and not line.lstrip().startswith("="):  # WikiText's headings
            middle = len(words) // 2
            found.append((" ".join(words[:middle][-_WORDS[1] :]), " ".join(words[middle:][: _WORDS[1]])))
    if not found:
        raise NoText(f"{path}: wanted a line of {_WORDS[0]} words or more, given none")
    return found[:rows]


def shapes_pairs(rows: int) -> list[tuple[str, str]]:
    """Questions of tiny-t5's pretraining about held-out scenes told in words, with their answers."""
    draw, found = random.Random("forgetting"), []
    while len(found) < rows:
        kind = ASKED[len(found) % len(ASKED)]
        lesson = question_lesson(sample_scene(draw, wanted_held_out=True), kind, draw, told=True)
        found += [(lesson.source, lesson.target)] if lesson else []
    return found


@torch.no_grad()
def _loss(
    network: Network, tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]], config: Experiment, name: str | None
) -> float:
    """name: of an adapter in the network's bank; None: its own."""
    examples = [
        Example(place, source, (target,), (1.0,), (target,)) for place, (source, target) in enumerate(pairs)
    ]  # fmt: skip
    encoded = EncodedExamples(
        examples,
        tokenizer,
        kind=network.backbone.text_form,
        max_source_length=_TOKENS,
        max_target_length=_TOKENS,
        trained=False,
    )
    total = 0.0
    for start in range(0, len(examples), _BATCH):
        rows = range(start, min(start + _BATCH, len(examples)))
        batch = encoded.collate(rows, None, np.zeros(len(rows)))
        batch.adapters = None if name is None else (name,) * len(rows)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.bf16):
            total += float(network(batch).float().sum())
    return total / len(examples)
