"""Image captioning, scored as COCO captions.

    {"image_id": 285, "image": "COCO_val2014_000000000285.jpg",
     "captions": ("A big burly grizzly bear is show with grass in the background.", ... five or more)}

One example per image: its captions are the targets, one drawn per visit, and it is visited once per caption
in a training epoch. The source text is the same for every image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from dept_vl.metrics.captions import METRICS, constant_cider, score_captions
from dept_vl.tasks.example import Example, part_warnings, template_fields

_CANDIDATES = 50  # training captions tried as the constant answer


@dataclass(frozen=True)
class CaptionTask:
    """template: the source text, without fields; a causal model takes it for the cue. metrics: a choice from
    metrics.captions.METRICS.

    Only CIDEr is quick; METEOR and SPICE load large Java models anew for each scoring.
    """

    template: str = "caption:"
    metrics: tuple[str, ...] = METRICS
    causal_template: ClassVar[str] = "Caption:"  # of a decoder-only model, where none is given
    name: ClassVar[str] = "caption"
    protocol: ClassVar[str] = "coco-caption"
    headline: ClassVar[str] = "CIDEr"
    selecting: ClassVar[tuple[str, ...]] = ("CIDEr", "Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "METEOR", "ROUGE_L")
    visual: ClassVar[bool] = True
    hub: ClassVar[None] = None  # read from official files only
    label_meanings: ClassVar[Mapping[str, str]] = {}
    candidates: ClassVar[tuple[str, ...]] = ()  # captions are free
    max_source_length: ClassVar[int] = 20
    max_target_length: ClassVar[int] = 20  # tokens, as CLIP-T5's scripts have it

    def __post_init__(self) -> None:
        if template_fields(self.template):
            raise ValueError(f"template: wanted a text without fields, given {self.template!r}")
        if self.headline not in self.metrics:
            raise ValueError(f"metrics: wanted {self.headline} among them, given {self.metrics}")

    def read(self, row: Mapping[str, Any]) -> Example | None:
        """An example, or None when the image has no caption but blanks."""
        targets = tuple(text for caption in row["captions"] if (text := caption.strip()))
        if not targets:
            return None
        return Example(
            id=row["image_id"],
            source=self.template.format(),
            targets=targets,
            weights=(1 / len(targets),) * len(targets),
            references=tuple(row["captions"]),
            image=row["image"],
            visits=len(targets),
        )

    def fill(self, question: str) -> tuple[str, None]:
        """The source text, which has no question in it, and None: a too long one loses its end."""
        return self.template.format(), None

    def score(
        self, predictions: Mapping[Any, str], examples: Sequence[Example], *, split_size: int | None = None
    ) -> dict[str, Any]:
        """Caption metrics as fractions, the tokenizer, what was skipped and why, and a list of warnings.

        CIDEr weighs words by how many of the scored images use them, so it shifts with the images scored.
        split_size: how many images the whole split holds (`Loaded.counts["in_split"]`), if known.
        """
        references = {example.id: example.references for example in examples}
        result = score_captions(predictions, references, metrics=self.metrics)
        part = part_warnings("images", len(examples), split_size)
        return {**result, "warnings": [*result["warnings"], *part]}

    def constant_answers(
        self, train: Sequence[Example], val: Sequence[Example], test: Sequence[Example]
    ) -> dict[str, dict[Any, str]]:
        """The training caption that as a constant answer to `val` has the highest CIDEr.

        Candidates are the 50 commonest training captions, the first ones in order where counts are equal.
        """
        counter = Counter(caption for example in train for caption in example.references)
        commonest = [caption for caption, _ in counter.most_common(_CANDIDATES)]
        scores = constant_cider(commonest, {example.id: example.references for example in val})
        best = commonest[scores.index(max(scores))]
        return {"constant": {example.id: best for example in test}}
