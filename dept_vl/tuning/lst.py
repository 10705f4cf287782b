"""Ladder side-tuning (LST). Sung, Cho and Bansal, NeurIPS 2022, arXiv:2206.06522.

    s_0 = Down_0 x,   s <- Block_i(g_i s + (1 - g_i) Down_i h_i) for each kept layer i,   g_i = sigmoid(a_i / 0.1)
    logits = head(scale * Up(norm(s)))

beside both stacks of a T5: h_i is what the frozen layer i gave, x what the stack reads, and Block_i a T5 block of 1 /
`reduction` of the width, whose cross-attention reads the encoder's side. Readout, scale and head are the frozen
model's; its own last states are not read out. Down and Up are N(0, 0.01^2) with biases at zero and all a_i = 0, so the
start is neither the frozen model nor near it. It does not merge, and PEFT has no such method.

No gradient goes through the frozen model, which keeps nothing for a backward pass: a prompt or projection in front of
it trains through Down_0 alone. The frozen model reads visual tokens too; in the paper they go to the side alone.

Block_i starts as a part of the frozen layer i, and the table of relative positions of layer 0 goes to the side's first
block. The published choice of that part is by Fisher information on 1,024 examples of the task (`init_weights:
fisher`); by magnitude it asks for no data. Either way all layers keep the same channels, those that count most in the
table of word embeddings, and each head as many dimensions. In the published code each matrix keeps what counts most in
itself.

At T5-base a reduction of 8 beside layers 1-3, 5-7 and 9-11 has side blocks of 9 * (110,784 + 147,744), tables 2 * 384,
norms 2 * 96, 20 * 73,824 in Down, 74,496 in Up and 18 gates: 3,878,706 weights. The published 3,878,712 (3.8M) counts
the gates of the six layers left out too, which never train.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Generator, Tensor, nn
from transformers import PreTrainedModel

from dept_vl.tuning.contract import TUNINGS, BadTuning, Frozen, Groups, Tuning, check_size, gathered
from dept_vl.tuning.fisher import EXAMPLES, Example, fisher
from dept_vl.tuning.side_network import Ladder, SideStack
from dept_vl.tuning.side_start import Scores, cut, draw, magnitude, strongest

_STARTS = ("magnitude", "fisher", "random")
_TYPES = ("t5", "mt5")
_GROUPS = {"embed_down": "ladder", "down": "ladder", "up": "ladder", "gate": "gate"}  # of the parts of a side stack


@TUNINGS.register("lst")
class LadderSideTuning(Tuning):
    """reduction: the frozen model's widths over the side's. layers: those with a side block, in both stacks; null is
    all but every fourth, from 0 on. init_weights: "magnitude", "fisher" (which wants `look_at` before `attach`) or
    "random". Raises: BadTuning.
    """

    groups = ("side", "ladder", "gate")
    published = {"reduction": 8}
    reads_weights = True

    def __init__(
        self,
        *,
        reduction: int = 8,
        layers: list[int] | None = None,
        init_weights: str = "magnitude",
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        check_size("LadderSideTuning", "reduction", reduction)
        if layers is not None and not _rising(layers):
            raise BadTuning(
                f"LadderSideTuning: wanted layers to be numbers of layers in order, or null, given {layers!r}"
            )
        if init_weights not in _STARTS:
            raise BadTuning(f"LadderSideTuning: wanted init_weights of {', '.join(_STARTS)}, given {init_weights!r}")
        self.reduction, self.layers, self.init_weights = reduction, layers, init_weights
        self._generator = generator
        self.examples = EXAMPLES if init_weights == "fisher" else 0
        self._information: dict[nn.Parameter, Tensor] | None = None

    def look_at(self, backbone: Frozen, examples: Iterable[Example]) -> None:
        if self.examples:
            self._information = fisher(backbone, examples)

    def _scores(self) -> Scores:
        """How much a weight counts. Raises: BadTuning for Fisher information that nobody gathered."""
        if self.init_weights != "fisher" or list(self.weights.parameters()):  # a start that saved weights replace
            return magnitude
        if self._information is None:
            raise BadTuning(f"LadderSideTuning: wanted {self.examples} examples to look at for init_weights fisher")
        return self._information.__getitem__

    def place(self, model: PreTrainedModel) -> Groups:
        self._check(model)
        scores, table = self._scores(), model.get_input_embeddings().weight
        with torch.no_grad(), gathered(table):
            channels = strongest(scores(table).sum(0), 1, table.shape[1] // self.reduction)
        groups: Groups = {name: {} for name in self.groups}
        for name in ("encoder", "decoder"):
            stack = getattr(model, name)
            kept = _kept(len(stack.block)) if self.layers is None else self.layers
            side = SideStack(stack, kept, self.reduction, self._generator, up=name == "decoder")
            if self.init_weights == "random":
                draw(side, stack, self._generator)
            else:
                cut(side, stack, channels, scores)
            self._added.append(side)
            for remove in Ladder(side).put_on(stack):
                self.undo(remove)
            for part, module in side.named_children():
                group = groups[_GROUPS.get(part, "side")]
                group |= {f"{name}.{part}.{path}": weight for path, weight in module.named_parameters()}
        self._information = None  # as large as the model
        return groups

    def _check(self, model: PreTrainedModel) -> None:
        kind, config = model.config.model_type, model.config
        if kind not in _TYPES:
            raise BadTuning(
                f"LadderSideTuning: wanted an encoder-decoder of type {', '.join(_TYPES)}, whose two stacks the side "
                f"network is cut from, given a {kind} model"
            )
        sizes = {name: getattr(config, name) for name in ("d_model", "d_kv", "d_ff")}
        if any(size % self.reduction for size in sizes.values()):
            given = ", ".join(f"{name} {size}" for name, size in sizes.items())
            raise BadTuning(f"LadderSideTuning: wanted reduction to divide {given}, given {self.reduction}")
        least = min(len(model.encoder.block), len(model.decoder.block))
        if (self.layers or _kept(least) or [least])[-1] >= least:
            given = "null, which leaves out layer 0" if self.layers is None else self.layers
            raise BadTuning(f"LadderSideTuning: wanted layers below {least}, at least one, given {given}")


def _kept(layers: int) -> list[int]:
    return [layer for layer in range(layers) if layer % 4]


def _rising(layers: Any) -> bool:
    whole = isinstance(layers, list) and bool(layers) and all(type(each) is int and each >= 0 for each in layers)
    return whole and layers == sorted(set(layers))
