"""Prompt tuning (PT). Lester, Al-Rfou and Constant, EMNLP 2021, arXiv:2104.08691.

    X' = [P; X]

with P [prompt, d_model].
"""

from torch import nn

from dept_vl.adapters.contract import ADAPTERS, Adapter, Pair, Rows, Text, check_size, first_rows, folded_source
from dept_vl.adapters.start import copy_prompt


@ADAPTERS.register("pt")
class PromptTuning(Adapter):
    """P is the first `num_virtual_tokens` rows of `init`. Raises: BadAdapterSize, TooFewInitRows."""

    published = {"num_virtual_tokens": 100}

    def __init__(self, init: Rows, *, num_virtual_tokens: int) -> None:
        super().__init__()
        check_size("PromptTuning", "num_virtual_tokens", num_virtual_tokens, minimum=1)
        self.num_virtual_tokens, self.token_dim = num_virtual_tokens, init.shape[1]
        self.prompt_embeddings = nn.Parameter(first_rows("PromptTuning", init, num_virtual_tokens))

    def pair(self, text: Text | None) -> Pair:
        return Pair(self.prompt_embeddings)

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"prompt": [self.prompt_embeddings]}

    def start_from(self, source: Adapter) -> tuple[str, ...]:
        """From the folded prompt of any adapter. Raises: WrongSource."""
        folded = folded_source(source, self)
        left = () if folded.shift is None else ("the low-rank pair was left: the target has no shift",)
        return (*copy_prompt(folded.prompt, self.prompt_embeddings), *left)
