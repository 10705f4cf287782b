"""LoRA with BitFit and T5's tables of relative positions: the "LoRA" of DePT's GLUE table, as the code of LST trains it
(Sung, Cho and Bansal, NeurIPS 2022, arXiv:2206.06522).

    y = W x + b + (lora_alpha / r) B A x

That code turns BitFit on and trains whatever has "lora" or "bias" in its name, relative_attention_bias included. The
start is the frozen model.

At T5-base with r = 32, lora_alpha = 32 and lora_dropout = 0.1 on q and v: 72 * 32 * 1,536 + 282,468 + 2 * 384 =
3,822,180 weights, the published 3.8M.
"""

from transformers import PreTrainedModel

from dept_vl.tuning.bitfit import Biases
from dept_vl.tuning.contract import TUNINGS, Groups
from dept_vl.tuning.lora import LoRA
from dept_vl.tuning.places import modules_named


@TUNINGS.register("lora_bitfit")
class LoRABitFit(LoRA):
    """The biases of T5's keys are dead. PEFT's format has no place for the biases, so there is no export to it."""

    groups = ("lora", "bias", "relative_bias")
    published = {"r": 32}

    def place(self, model: PreTrainedModel) -> Groups:
        self._biases = Biases(self, model)  # before LoRA's own linear maps are there
        groups = super().place(model) | {"bias": self._biases.by_name}
        tables = dict(modules_named(model, ["relative_attention_bias"]))
        relative = {f"{path}.weight": self.own(model, table.weight) for path, table in tables.items()}
        return groups | ({"relative_bias": relative} if relative else {})

    def merge(self) -> None:
        super().merge()
        self._biases.merge()

    def to_peft(self) -> None:
        return None
