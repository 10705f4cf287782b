"""No adapter: the text as it is. The baseline in which only the visual projection trains.

X' = X
"""

from torch import nn

from dept_vl.adapters.contract import ADAPTERS, Adapter, Pair, Rows, Text


@ADAPTERS.register("none")
class NoAdapter(Adapter):
    """Takes only d_model (and the device) from `init`, which may have no rows."""

    published = {}

    def __init__(self, init: Rows) -> None:
        super().__init__()
        self.num_virtual_tokens, self.token_dim = 0, init.shape[1]
        self.register_buffer("_prompt", init.new_zeros(0, self.token_dim).float(), persistent=False)

    def pair(self, text: Text | None) -> Pair:
        return Pair(self._prompt)

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {}
