"""P-tuning v2. Liu et al., ACL 2022, arXiv:2110.07602; github.com/THUDM/P-tuning-v2.

    keys [P_k; K], values [P_v; V] in every layer, with dropout of 0.1 on P in training

`prefix` with P itself trained, normal(0, 1) at the start. The paper has encoder-only models and a linear head for each
task beside the prefix. Here it stands in all three places of T5, or in a decoder-only model, and there is no head: the
answer is text. The code's optional projection is `prefix` with prefix_projection.

At T5-base 20 tokens have 3 * 20 * 18,432 = 1,105,920 weights; the paper has no T5.
"""

from torch import Generator

from dept_vl.tuning.contract import TUNINGS
from dept_vl.tuning.prefix import PrefixTuning


@TUNINGS.register("p_tuning_v2")
class PTuningV2(PrefixTuning):
    """Raises: BadTuning."""

    published = {"num_virtual_tokens": 20}

    def __init__(
        self,
        *,
        num_virtual_tokens: int,
        prefix_dropout: float | int = 0.1,
        prefix_positions: bool = False,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(
            num_virtual_tokens=num_virtual_tokens,
            prefix_projection=False,
            prefix_dropout=prefix_dropout,
            prefix_positions=prefix_positions,
            generator=generator,
        )
