"""Row 17: evaluation of whole answers, captions by a search with 5 beams and VQA greedily, against the published way.

Both sides answer the same rows with the same words, DePT m=40 over 36 patches, so the ratio of times is that of tokens
a second. As published (DePT's code): batches in the order of the file, each text padded to 256, transformers' own
search, and a forward pass more for the loss. Ours: `evaluation_batches`, longest first, and `Network.generate`.
Random weights never say the end, so both stop after as many tokens as a trained model's answers have.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from benchmarks.inference import AS_TRAINED
from benchmarks.lengths import SOURCE_LENGTH, encoded, vqa_lengths
from benchmarks.setting import Setting
from benchmarks.shapes import dept, padded_to, t5
from benchmarks.table import Line, Measured, Target
from benchmarks.timing import interleave, ratio
from dept_vl.data.batches import EncodedExamples, evaluation_batches
from dept_vl.model import Batch, Network
from dept_vl.vision import VisualProjection

ROWS, EXAMPLES, CAPTIONS, PATCHES, WIDTH = 32, 96, 32, 36, 2048  # captions' texts have one length, so a batch says all
CAPTION_TOKENS, BEAMS = 12, 5  # a caption of COCO with its end
CUE = 4  # tokens of "caption:"


def answers(setting: Setting) -> Measured:
    """The published way / ours; and transformers' search on our own batches / ours."""
    rows, examples, captions, width = (2, 6, 2, 8) if setting.tiny else (ROWS, EXAMPLES, CAPTIONS, WIDTH)
    backbone = t5(setting.t5, setting)
    projection = VisualProjection(width, backbone.d_model, PATCHES, setting.generator())
    network = dept(backbone, setting, 40, projection).eval()
    features = torch.randn(examples, PATCHES, width, generator=setting.generator())
    keys = {f"{number}.jpg": number for number in range(examples)}

    def gather(images: Sequence[str]) -> Tensor:
        return features[[keys[image] for image in images]]

    asked = {
        "VQA, greedy": (vqa_lengths(examples, setting.seed), {"max_new_tokens": AS_TRAINED, "num_beams": 1}),
        f"captions, {BEAMS} beams": ([CUE] * captions, {"max_new_tokens": CAPTION_TOKENS, "num_beams": BEAMS}),
    }
    lines, seconds = [], {}
    for name, (lengths, sizes) in asked.items():
        examined = encoded(lengths, setting.seed, list(keys)[: len(lengths)])
        ours = [each.to(setting.device) for each in evaluation_batches(examined, gather, batch_size=rows)]
        theirs = _as_published(examined, gather, rows, 32 if setting.tiny else SOURCE_LENGTH, setting)
        runs = {
            "published": [lambda each=each, sizes=sizes: _published(network, each, sizes) for each in theirs],
            "same batches": [lambda each=each, sizes=sizes: _plain(network, each, sizes) for each in ours],
            "ours": [lambda each=each, sizes=sizes: network.generate(each, **sizes) for each in ours],
        }
        times = interleave(
            runs, seconds=setting.seconds / len(asked), device=setting.device, least=setting.least
        )  # fmt: skip
        seconds[name] = times
        published = f"{name}: in the file's order, padded to {SOURCE_LENGTH}, loss / ours"
        lines.append(Line(published, ratio(times["published"], times["ours"]), Target(">=", 3)))
        lines.append(Line(f"{name}: transformers' search / ours", ratio(times["same batches"], times["ours"])))
    facts = {
        "shape": setting.t5,
        "rows": rows,
        "examples": examples,
        "captions": captions,
        "caption_tokens": CAPTION_TOKENS,
    }
    return Measured(lines, seconds, facts)


def _as_published(
    examples: EncodedExamples, gather: Callable[[Sequence[str]], Tensor], rows: int, to: int, setting: Setting
) -> list[Batch]:
    parts = np.split(np.arange(len(examples)), range(rows, len(examples), rows))
    return [padded_to(examples.collate(part, gather, np.zeros(len(part))), to).to(setting.device) for part in parts]


def _published(network: Network, batch: Batch, sizes: dict[str, int]) -> None:
    _plain(network, batch, sizes)
    with torch.no_grad():
        network(batch)


@torch.no_grad()
def _plain(network: Network, batch: Batch, sizes: dict[str, int]) -> None:
    embeds, mask = network.embed(batch)
    network.backbone.model.generate(inputs_embeds=embeds, attention_mask=mask, do_sample=False, **sizes)
