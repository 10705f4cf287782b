"""The loss of (IA)^3's recipe where answers are chosen among labels: the usual nats, and two terms for wrong labels.

    ranking       cross-entropy of the right label, over all labels' mean nats per token (a length exponent of 1)
    unlikelihood  -log(1 - p + 0.01), averaged over the tokens of a row's wrong labels

T-Few (Liu et al. 2022, arXiv:2205.05638, section 3.2) weighs all three alike. Its code, which has the 0.01, averages
the last over the wrong tokens of a whole batch; here each row has its own mean, as everywhere.
"""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor

from dept_vl.backbones.frozen import Backbone, Embeds, Labels, Mask, mean_nats

_FLOOR = 0.01


class Choices:
    """Labels as token ids, the end token last. `losses` reads a row once for each of them.

    Raises: ValueError for fewer than two labels.
    """

    def __init__(self, rows: Sequence[Sequence[int]]) -> None:
        if len(rows) < 2:
            raise ValueError(f"wanted at least two labels to choose among, given {len(rows)}")
        longest = max(map(len, rows))
        self.targets = torch.tensor([[*row, *[-100] * (longest - len(row))] for row in rows])  # [label, target]

    def others(self, targets: Iterable[Sequence[int]]) -> int:
        """How many of these targets are none of the labels."""
        known = {tuple(row[row != -100].tolist()) for row in self.targets}
        return sum(tuple(map(int, each)) not in known for each in targets)

    def losses(
        self, backbone: Backbone, embeds: Embeds, mask: Mask, labels: Labels, label_smoothing: float = 0.0
    ) -> tuple[Float[Tensor, " batch"], ...]:
        """The usual nats, ranking and unlikelihood of each row, in fp32. Raises: ValueError for a target that is no
        label."""
        right, targets, number = self._right(labels), self.targets.to(embeds.device), len(self.targets)
        each = targets.repeat(len(embeds), 1)  # [batch * label, target]
        logits = backbone.logits(embeds.repeat_interleave(number, 0), mask.repeat_interleave(number, 0), each)
        own = logits.unflatten(0, (-1, number))[torch.arange(len(right), device=right.device), right]
        nats = F.cross_entropy(logits.float().transpose(1, 2), each, reduction="none").unflatten(0, (-1, number))
        real = targets != -100
        ranking = F.cross_entropy(-nats.sum(-1) / real.sum(-1), right, reduction="none")
        wrong = real & (F.one_hot(right, number) == 0).unsqueeze(-1)  # [batch, label, target]
        unlikely = -(1 - (-nats).exp() + _FLOOR).log().masked_fill(~wrong, 0)
        return mean_nats(own, targets[right], label_smoothing), ranking, unlikely.sum((1, 2)) / wrong.sum((1, 2))

    def _right(self, labels: Labels) -> Integer[Tensor, " batch"]:
        width = max(labels.shape[1], self.targets.shape[1])
        given, known = (F.pad(each, (0, width - each.shape[1]), value=-100) for each in (labels, self.targets))
        same = (given.unsqueeze(1) == known.to(given.device)).all(-1)  # [batch, label]
        if not same.any(1).all():
            raise ValueError(f"wanted targets that are labels, given {int((~same.any(1)).sum())} that are none")
        return same.long().argmax(1)
