"""What (IA)^3's recipe adds to the loss where an answer is chosen among labels (T-Few: Liu et al. 2022,
arXiv:2205.05638, section 3.2): the right label should be the likeliest, and the tokens of wrong ones unlikely.

    ranking       cross-entropy of the right label, over all labels' mean nats per token (a length exponent of 1)
    unlikelihood  -log(1 - p + 0.01), averaged over the tokens of a row's wrong labels

The paper's batch averages the second over all its wrong tokens at once, here each row has its own mean, as everywhere.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor

from dept_vl.backbones.frozen import Backbone, Embeds, Labels, Mask

_FLOOR = 0.01  # in the logarithm, as T-Few's code has it


class Choices:
    """Labels as token ids, the end token last. `losses` reads a row once for each, so a step costs as many more passes.

    Raises: ValueError for fewer than two labels.
    """

    def __init__(self, rows: Sequence[Sequence[int]]) -> None:
        if len(rows) < 2:
            raise ValueError(f"wanted at least two labels to choose among, given {len(rows)}")
        longest = max(map(len, rows))
        self.targets = torch.tensor([[*row, *[-100] * (longest - len(row))] for row in rows])  # [label, target]

    def losses(
        self, backbone: Backbone, embeds: Embeds, mask: Mask, labels: Labels
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
        """Ranking and unlikelihood of each row, in fp32. Raises: ValueError for a target that is no label."""
        right, targets, number = self._right(labels), self.targets.to(embeds.device), len(self.targets)
        each = targets.repeat(len(embeds), 1)  # [batch * label, target]
        logits = backbone.logits(embeds.repeat_interleave(number, 0), mask.repeat_interleave(number, 0), each)
        nats = F.cross_entropy(logits.float().transpose(1, 2), each, reduction="none").unflatten(0, (-1, number))
        real = targets != -100
        ranking = F.cross_entropy(-nats.sum(-1) / real.sum(-1), right, reduction="none")
        wrong = real & (F.one_hot(right, number) == 0).unsqueeze(-1)  # [batch, label, target]
        unlikely = -(1 - (-nats).exp() + _FLOOR).log().masked_fill(~wrong, 0)
        return ranking, unlikely.sum((1, 2)) / wrong.sum((1, 2))

    def _right(self, labels: Labels) -> Integer[Tensor, " batch"]:
        width = max(labels.shape[1], self.targets.shape[1])
        given, known = (F.pad(each, (0, width - each.shape[1]), value=-100) for each in (labels, self.targets))
        same = (given.unsqueeze(1) == known.to(given.device)).all(-1)  # [batch, label]
        if not same.any(1).all():
            raise ValueError(f"wanted targets that are labels, given {int((~same.any(1)).sum())} that are none")
        return same.long().argmax(1)
