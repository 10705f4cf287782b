"""The model cards of the embedded backbones: how, on what, how long and with which scores, as stored."""

import platform
from collections.abc import Mapping
from pathlib import Path

from dept_vl.embedded.pretraining.clip import ClipRecipe
from dept_vl.embedded.pretraining.t5 import PHASES

_HEAD = """---
license: apache-2.0
tags: [dept_vl, shapes]
---
"""


_CLIP = """\
A CLIP of open_clip: ModifiedResNet, layers (1, 1, 1, 1), width 16, 96 pixels; a text tower of 2 layers, width 96.
Trained on pictures of Shapes scenes with full descriptions (`dept_vl/embedded/pretraining/clip.py`): {steps:,} steps of
{batch} pictures, half of them siblings of the others with one change; AdamW {rate:g}, one cycle. Every picture is made
on the fly; none shows a held-out scene, and the val and test pictures of the data set show nothing else.

16 % of the descriptions are longer than the text tower's 48 tokens and lose their end (sizes and ground of scenes with
many things); the other form of description, in seven of ten cases, is never cut.

recall@1: of 400 pictures to 400 texts. layer3, layer4: what a linear map reads off the grid token of a thing's own
cell (layer 3 with 2 x 2 tokens stacked).
"""
_T5 = """\
A T5 v1.0 (relu, tied embeddings): d = 128, 4 + 4 layers, 4 heads of 32, feed-forward 512, and a byte-level tokenizer of
its own. Trained in {phases} phases ({steps} steps, Adafactor with parameter scaling; `embedded/pretraining/t5.py`) to
answer questions about scenes and to describe them.

**Slots, a pretraining device.** A scene is given as nine vectors behind the text, one per grid cell: the sum of the
embeddings of the words that describe the cell, with noise. No picture is involved. It teaches the model to read a
scene that comes as vectors; in use, the trained projection of CLIP's grid takes their place.

**What pretraining withholds** (held by tests/embedded/pretraining/test_language.py):
- the prompt formats `vqa: ` and `caption:`; every pretraining input opens with a dialect's name or `describe`;
- the label set: yes / no occurs only with number words, digits only with true / false, each under its own dialect; the
  data set wants yes / no and digits, under no dialect's name;
- the second wording of every kind of question, and every caption form;
- one whole kind: no question is about the background (descriptions mention it);
- every scene of the val and test pictures.
"""


def write_cards(assets: Path, scores: Mapping[str, Mapping[str, float]], seconds: Mapping[str, float]) -> None:
    """README.md of both folders. `scores` and `seconds` are by model name."""
    recipe = ClipRecipe()
    texts = {
        "tiny-clip": _CLIP.format(steps=recipe.steps, batch=recipe.batch_size, rate=recipe.learning_rate),
        "tiny-t5": _T5.format(phases=len(PHASES), steps=" + ".join(f"{phase.steps:,}" for phase in PHASES)),
    }
    for name, text in texts.items():
        table = "\n".join(f"| {metric} | {value:.3f} |" for metric, value in scores[name].items())
        (assets / name / "README.md").write_text(
            f"{_HEAD}\n# {name}\n\n{text}\n"
            f"Training took {seconds[name] / 60:.0f} minutes on one core ({platform.machine()}, bf16 autocast).\n\n"
            f"Scores on held-out scenes, of the weights as stored (fp16):\n\n| | |\n|---|---|\n{table}\n",
            encoding="utf-8",
        )
