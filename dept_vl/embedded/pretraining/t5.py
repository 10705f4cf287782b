"""Pretraining of tiny-t5: a T5 of d = 128, 4 + 4 layers, that answers questions about a given scene.

A scene is given as nine *slots* behind the text, one per grid cell: the sum of the embeddings of the words
that describe the cell, scaled and with noise added. Slots are a pretraining device: they teach the model to
read a scene that comes as vectors, so that a projection of CLIP's grid can later take their place.
"""

import copy
import dataclasses
import functools
import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase, T5Config, T5ForConditionalGeneration

from dept_vl.embedded.pretraining.language import ASKED, Lesson, description_lesson, question_lesson
from dept_vl.embedded.shapes.world import CELLS, COLUMNS, GRID, MAX_THINGS, ROWS, Scene, sample_scene

SLOT_WORDS = 6  # row, column, ground, size, color, shape
SLOT_SCALE = SLOT_WORDS**-0.5
_SLOT_NOISE = 0.1  # standard deviation; slots start at about 1 and grow with the embeddings


@dataclasses.dataclass(frozen=True)
class T5Recipe:
    """One phase of pretraining. `learning_rate` is relative to each matrix's RMS (Adafactor's parameter scaling).

    `shares` are of the batches: questions about slots, questions about a scene told in words, descriptions.
    `kinds` weigh the kinds of questions, in the order of ASKED. `pairs` is the share of the spatial and side
    questions that is asked about scenes of exactly two things.
    """

    steps: int
    batch_size: int = 32
    learning_rate: float = 8e-3
    warmup_steps: int = 1_000
    decay_from: float = 1.0  # share of the steps after which the step size falls linearly to a twentieth
    grow_until: float = 0.0  # share of the steps over which scenes grow from one thing to four
    shares: tuple[float, float, float] = (0.66, 0.14, 0.20)
    kinds: tuple[int | float, ...] = (1, 1, 1, 1, 1.3, 1.5, 2, 0)
    pairs: float = 0.0
    seed: int = 1
    log_every: int = 2_000


PHASES = (
    # Everything but spatial relations is right after a third of this; those stay at chance to its end.
    T5Recipe(16_000, grow_until=0.28),
    # "left or right of", an open question, leaves chance within 2,500 steps, and the yes / no question follows.
    T5Recipe(
        5_500, warmup_steps=200, shares=(0.86, 0.04, 0.10), kinds=(0.3, 0.3, 0.3, 0.5, 0.3, 0.7, 2, 4), pairs=0.5,
        seed=2,
    ),
    # All kinds again, more scenes in words, to a small step size.
    T5Recipe(
        6_000, batch_size=48, warmup_steps=200, decay_from=0.25, shares=(0.60, 0.25, 0.15),
        kinds=(1, 1, 1, 1, 1.3, 1.5, 2, 1), seed=3,
    ),
)  # fmt: skip
_SHARES = ("slots", "told", "describe")


def tiny_t5(vocabulary: int) -> T5ForConditionalGeneration:
    """A T5 v1.0 (relu, tied embeddings), dropout off for pretraining."""
    return T5ForConditionalGeneration(
        T5Config(
            vocab_size=vocabulary, d_model=128, d_kv=32, num_heads=4, d_ff=512, num_layers=4, num_decoder_layers=4,
            dropout_rate=0.0, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0,
        )
    )  # fmt: skip


def train_t5(
    model: T5ForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    recipe: T5Recipe,
    log: Callable[[str], None],
) -> dict[str, float]:
    """Trains in place; returns the share of right answers per question kind on held-out scenes."""
    torch.manual_seed(recipe.seed)
    encode = WordEncoder(tokenizer)
    optimizer = torch.optim.Adafactor(model.parameters(), lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, functools.partial(_step_size, recipe=recipe))
    noise = torch.Generator().manual_seed(recipe.seed)
    started, losses = time.monotonic(), {share: [] for share in _SHARES}
    for step, (share, lessons) in enumerate(_batches(recipe), start=1):
        with torch.autocast("cpu", torch.bfloat16):
            loss = _loss(model, encode, lessons, noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        losses[share].append(loss.detach())
        if step % recipe.log_every == 0:
            means = {name: round(float(torch.stack(each).mean()), 3) for name, each in losses.items() if each}
            losses = {share: [] for share in _SHARES}
            record = {"step": step, "seconds": round(time.monotonic() - started), "loss": means}
            log(json.dumps(record | {"right": score_t5(model, tokenizer, questions=32)}))
    return score_t5(model, tokenizer, questions=200)


def score_t5(
    model: T5ForConditionalGeneration, tokenizer: PreTrainedTokenizerBase, *, questions: int, told: bool = False
) -> dict[str, float]:
    """Share of right answers by greedy decoding, per kind, on `questions` held-out scenes of 2 to 4 things each."""
    encode, rng, scores = WordEncoder(tokenizer), random.Random("score"), {}
    for kind in ASKED:
        lessons = []
        while len(lessons) < questions:
            scene = sample_scene(rng, wanted_held_out=True)
            lesson = question_lesson(scene, kind, rng, told=told) if len(scene.things) > 1 else None
            lessons += [lesson] if lesson else []
        answers = answer(model, tokenizer, encode, lessons)
        scores[kind] = sum(a == lesson.target for a, lesson in zip(answers, lessons, strict=True)) / questions
    return scores | {"mean": sum(scores.values()) / len(scores)}


@torch.no_grad()
def answer(model, tokenizer, encode: "WordEncoder", lessons: list[Lesson]) -> list[str]:
    """Greedy answers; the model's mode is left as it was."""
    embeds, mask = embed_lessons(model, encode, lessons, noise=None)
    ids = model.generate(inputs_embeds=embeds, attention_mask=mask, max_new_tokens=8, do_sample=False)
    return [text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]


class WordEncoder:
    """Token ids of a text, chunk by chunk between spaces, remembered: BPE never looks across a space."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._chunk = functools.cache(lambda chunk: tokenizer(chunk, add_special_tokens=False)["input_ids"])
        self._end = tokenizer.eos_token_id

    def __call__(self, text: str) -> list[int]:
        return [each for chunk in text.split() for each in self._chunk(chunk)] + [self._end]

    def word(self, word: str) -> int:
        ids = self._chunk(word)
        if len(ids) != 1:
            raise ValueError(f"wanted one piece for the Shapes word {word!r}, the tokenizer gives {len(ids)}")
        return ids[0]

    def slots(self, scene: Scene) -> list[list[int]]:
        """Word ids of the nine cells, 9 lists of 6; 0 where a cell has fewer words."""
        ground, rows = self.word(scene.ground), []
        for cell in range(CELLS):
            thing = scene.at(cell)
            words = (thing.size, thing.color, thing.shape) if thing else ("empty",)
            ids = [self.word(ROWS[cell // GRID]), self.word(COLUMNS[cell % GRID]), ground, *map(self.word, words)]
            rows.append(ids + [0] * (SLOT_WORDS - len(ids)))
        return rows


def embed_lessons(
    model: T5ForConditionalGeneration, encode: WordEncoder, lessons: list[Lesson], noise: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Embeddings [batch, seq + 9, 128] and mask of texts and, for lessons with a scene, its slots behind them."""
    table = model.get_input_embeddings().weight
    texts = _pad([encode(lesson.source) for lesson in lessons])
    embeds, mask = table[texts], (texts != 0).long()
    if lessons[0].scene is None:
        return embeds, mask
    words = torch.tensor([encode.slots(lesson.scene) for lesson in lessons])  # [batch, 9, 6]
    slots = (table[words] * (words != 0).unsqueeze(-1)).sum(2) * SLOT_SCALE  # [batch, 9, d_model]
    if noise is not None:
        slots = slots + _SLOT_NOISE * torch.randn(slots.shape, generator=noise)
    return torch.cat([embeds, slots], 1), torch.cat([mask, mask.new_ones(len(lessons), CELLS)], 1)


def _loss(model: T5ForConditionalGeneration, encode: WordEncoder, lessons: list[Lesson], noise: torch.Generator):
    """Mean over the examples of each one's mean nats per target token."""
    embeds, mask = embed_lessons(model, encode, lessons, noise)
    labels = _pad([encode(lesson.target) for lesson in lessons])
    logits = model(inputs_embeds=embeds, attention_mask=mask, labels=labels.masked_fill(labels == 0, -100)).logits
    nats = torch.nn.functional.cross_entropy(logits.float().transpose(1, 2), labels, reduction="none")
    real = (labels != 0).float()
    return ((nats * real).sum(1) / real.sum(1)).mean()


def _batches(recipe: T5Recipe) -> Iterator[tuple[str, list[Lesson]]]:
    rng = random.Random(f"t5 {recipe.seed}")
    growth = recipe.grow_until * recipe.steps
    for step in range(recipe.steps):
        most = min(MAX_THINGS, 1 + int(MAX_THINGS * step / growth)) if growth else MAX_THINGS
        share = rng.choices(_SHARES, recipe.shares)[0]
        lessons: list[Lesson] = []
        while len(lessons) < recipe.batch_size:
            scene = sample_scene(rng, wanted_held_out=False, most=most)
            if share == "describe":
                lessons.append(description_lesson(scene, rng))
                continue
            kind = rng.choices(ASKED, recipe.kinds)[0]
            if kind in ("spatial", "side") and rng.random() < recipe.pairs:
                while len(scene.things) != 2:
                    scene = sample_scene(rng, wanted_held_out=False, most=2)
            lesson = question_lesson(scene, kind, rng, told=share == "told")
            lessons += [lesson] if lesson else []
        yield share, lessons


def _step_size(step: int, recipe: T5Recipe) -> float:
    warm = min(1.0, (step + 1) / recipe.warmup_steps)
    falling = recipe.steps * (1 - recipe.decay_from)
    left = (recipe.steps - step) / falling if falling else 1.0
    return warm * max(0.05, min(1.0, left))


def _pad(rows: list[list[int]]) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [0] * (longest - len(row)) for row in rows])


def save_t5(model: T5ForConditionalGeneration, folder: Path) -> None:
    """Saves in transformers' layout in fp16; the dropout of the stored config is T5's 0.1."""
    config = copy.deepcopy(model.config)  # saving writes the stored type into it
    config.dropout_rate = 0.1
    stored = T5ForConditionalGeneration(config)
    stored.load_state_dict(model.state_dict())
    stored.to(torch.float16).save_pretrained(folder)


def load_t5(folder: Path) -> T5ForConditionalGeneration:
    """The stored weights, as fp32."""
    return T5ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
