"""AdapterDrop, as DePT's row has it: adapters are left out of the lowest layers. Ruecklé et al., EMNLP 2021,
arXiv:2010.11918.

    A(z) of `adapter` in the layers from `num_dropped` on of each stack, in training and in inference; all norms train

The original method draws how many layers to leave out anew in each training step; the published row does not.

At T5-base five of twelve layers are left out: 28 * 37,656 + 47,616 = 1,101,984 weights, the published 1.1M.
"""

from torch import Generator
from transformers import PreTrainedModel

from dept_vl.tuning.adapter import BottleneckAdapter
from dept_vl.tuning.contract import TUNINGS, BadTuning, Groups, check_size


@TUNINGS.register("adapterdrop")
class AdapterDrop(BottleneckAdapter):
    """Raises: BadTuning."""

    def __init__(self, *, reduction: int = 32, num_dropped: int = 5, generator: Generator | None = None) -> None:
        super().__init__(reduction=reduction, generator=generator)
        check_size("AdapterDrop", "num_dropped", num_dropped, minimum=0)
        self.num_dropped = self.first_layer = num_dropped

    def place(self, model: PreTrainedModel) -> Groups:
        groups = super().place(model)
        if not groups["bottleneck"]:
            raise BadTuning(f"AdapterDrop: wanted num_dropped below the number of layers, given {self.num_dropped}")
        return groups
