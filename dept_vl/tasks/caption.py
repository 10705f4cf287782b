"""Image captioning, scored as COCO captions.

    {"image_id": 285, "image": "COCO_val2014_000000000285.jpg",
     "captions": ("A big burly grizzly bear is show with grass in the background.", ... five or more)}

One example per image: its captions are the targets, one drawn per visit, and it is visited once per caption
in a training epoch. The source text is the same for every image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from dept_vl.metrics.captions import METRICS, score_captions
from dept_vl.tasks.example import Example, part_warnings, template_fields


@dataclass(frozen=True)
class CaptionTask:
    """template: the source text, without fields. metrics: a choice from metrics.captions.METRICS.

    Only CIDEr is quick; METEOR and SPICE load large Java models anew for each scoring.
    """

    template: str = "caption:"
    metrics: tuple[str, ...] = METRICS
    headline: ClassVar[str] = "CIDEr"
    selecting: ClassVar[tuple[str, ...]] = ("CIDEr", "Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "METEOR", "ROUGE_L")

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

    def score(
        self, predictions: Mapping[Any, str], examples: Sequence[Example], *, split_size: int | None = None
    ) -> dict[str, Any]:
        """Caption metrics as fractions, the tokenizer, what was skipped and why, and a list of warnings.

        CIDEr weighs words by how many of the scored images use them, so it shifts with the images scored.
        split_size: how many images the whole split holds (`Loaded.counts["in_split"]`), if known.
        """
        references = {example.id: example.references for example in examples}
        result = score_captions(predictions, references, metrics=self.metrics).as_dict()
        part = part_warnings("images", len(examples), split_size)
        return {**result, "warnings": [*result["warnings"], *part]}
