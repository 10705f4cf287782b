"""No adapter: the text as it is. The baseline in which only the visual projection trains.

X' = X
"""

from jaxtyping import Float
from torch import Tensor, nn

from dept_vl.adapters.contract import ADAPTERS, Adapter, Folded, OutEmbeds, OutMask, TextMask, check_inputs


@ADAPTERS.register("none")
class NoAdapter(Adapter):
    """Takes only d_model (and the device) from `init`, which may have no rows."""

    def __init__(self, init: Float[Tensor, "rows d_model"]) -> None:
        super().__init__()
        self.num_virtual_tokens = 0
        self.token_dim = init.shape[1]
        self.register_buffer("_prompt", init.new_zeros(0, self.token_dim).float(), persistent=False)

    def forward(self, embeds: Float[Tensor, "batch seq d_model"], mask: TextMask) -> tuple[OutEmbeds, OutMask]:
        check_inputs(embeds, mask, self.token_dim)
        return embeds, mask

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {}

    def fold(self) -> Folded:
        return Folded(prompt=self._prompt.clone(), shift=None)

    def config(self) -> dict[str, int | float | None]:
        return {"token_dim": self.token_dim, "trained_length": self.trained_length}
