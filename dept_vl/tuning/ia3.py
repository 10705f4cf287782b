"""(IA)^3. Liu et al., NeurIPS 2022, arXiv:2205.05638. PEFT's layers.

    k' = l_k * (W_k x),   v' = l_v * (W_v x),   y = W_o (l_ff * act(W_i x))

in self-attention and cross-attention and in the feed-forward, whose factor stands at the input of its last matrix, as
PEFT has it for T5: behind the activation also where that is not gated. All l are 1 at the start, which is the frozen
model. It merges into W_k, W_v and W_o.

At T5-base the encoder has 12 * (768 + 768 + 3,072) = 55,296 and the decoder 12 * (4 * 768 + 3,072) = 73,728 weights,
129,024 in all; the published 55.3K counts the encoder alone.
"""

from collections.abc import Callable
from typing import Any

from dept_vl.tuning.contract import TUNINGS
from dept_vl.tuning.peft_layers import PeftLayers, names


@TUNINGS.register("ia3")
class IA3(PeftLayers):
    """target_modules and those of them that are feedforward_modules: null is PEFT's choice for the type of model; in
    those that PEFT does not know it is keys, values and the last matrix of the feed-forward."""

    groups = ("ia3",)
    published = {}
    chosen = {
        **dict.fromkeys(("umt5", "longt5"), ("k", "v", "wo")),
        **dict.fromkeys(("t5gemma", "olmo2", "smollm3", "granite", "stablelm"), ("k_proj", "v_proj", "down_proj")),
        "pegasus": ("k_proj", "v_proj", "fc2"),
        "phi3": ("qkv_proj", "down_proj"),
    }

    def __init__(
        self, *, target_modules: list[str] | None = None, feedforward_modules: list[str] | None = None
    ) -> None:
        super().__init__(None)
        self.target_modules = names("IA3", "target_modules", target_modules)
        self.feedforward_modules = names("IA3", "feedforward_modules", feedforward_modules)

    def tuner(self) -> Callable[..., Any]:
        from peft.tuners.ia3 import IA3Model

        return IA3Model

    def peft_config(self, **more: Any) -> Any:
        from peft import IA3Config

        return IA3Config(target_modules=self.target_modules, feedforward_modules=self.feedforward_modules, **more)

    def choose(self, target_modules: list[str]) -> None:
        super().choose(target_modules)
        if self.feedforward_modules is None:
            self.feedforward_modules = target_modules[-1:]

    def take_choice(self, config: Any) -> None:
        super().take_choice(config)
        self.feedforward_modules = sorted(config.feedforward_modules)
