"""LoRA. Hu et al., ICLR 2022, arXiv:2106.09685. PEFT's layers.

    y = W x + (lora_alpha / r) B A x

with A [r, in] uniform(+-1 / sqrt(in)), B [out, r] at zero, so the start is the frozen model; lora_dropout acts on x in
front of A alone. It merges into W.

PEFT's defaults are r = 8 and lora_alpha = 8; here r has none, and lora_alpha null is r, a factor of 1. At T5-base
r = 35 on q and v of all 36 attention blocks (DePT's LoRA rows for SuperGLUE and MRQA) has 72 * 35 * 1,536 = 3,870,720
weights.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Generator

from dept_vl.tuning.contract import TUNINGS, BadTuning, Tuning, check_size
from dept_vl.tuning.peft_layers import PeftLayers, names


@TUNINGS.register("lora")
class LoRA(PeftLayers):
    """target_modules: null is q and v of T5, q_proj and v_proj of LLaMA, c_attn of GPT-2, as PEFT has it, and likewise
    in the types that PEFT does not know.

    With one seed it starts as PEFT's does after torch.manual_seed. Raises: BadTuning.
    """

    groups = ("lora",)
    published = {"r": 35}
    chosen = {
        **dict.fromkeys(("umt5", "longt5"), ("q", "v")),
        **dict.fromkeys(("pegasus", "t5gemma", "olmo2", "smollm3", "granite"), ("q_proj", "v_proj")),
        "phi3": ("qkv_proj",),
    }

    def __init__(
        self,
        *,
        r: int,
        lora_alpha: float | int | None = None,
        lora_dropout: float | int = 0.0,
        target_modules: list[str] | None = None,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(generator)
        check_size("LoRA", "r", r)
        if lora_alpha is not None and not (type(lora_alpha) in (int, float) and 0 < lora_alpha < math.inf):
            raise BadTuning(f"LoRA: wanted lora_alpha > 0, or null for r, given {lora_alpha!r}")
        if type(lora_dropout) not in (int, float) or not 0 <= lora_dropout < 1:
            raise BadTuning(f"LoRA: wanted lora_dropout from 0 to below 1, given {lora_dropout!r}")
        self.r, self.lora_alpha, self.lora_dropout = r, lora_alpha, lora_dropout
        self.target_modules = names("LoRA", "target_modules", target_modules)

    def tuner(self) -> Callable[..., Any]:
        from peft.tuners.lora import LoraModel

        return LoraModel

    def peft_config(self, **more: Any) -> Any:
        from peft import LoraConfig

        alpha = self.r if self.lora_alpha is None else self.lora_alpha
        return LoraConfig(
            r=self.r, lora_alpha=alpha, lora_dropout=self.lora_dropout, target_modules=self.target_modules, **more
        )

    @property
    def scale(self) -> float:
        """lora_alpha / r."""
        return 1.0 if self.lora_alpha is None else self.lora_alpha / self.r

    def start_from(self, source: Tuning) -> tuple[str, ...]:
        """B takes up the difference of the two scales, so that the update is the source's."""
        notes = super().start_from(source)
        own, given = self.state_dict(), source.state_dict()
        with torch.no_grad():
            for name in (each for each in own if "lora_B" in each and each in given):
                if own[name].shape == given[name].shape:
                    own[name].mul_(source.scale / self.scale)
        return notes
