"""How far one pass over targets is from another: from a teacher's, whose student a prompt is.

    KL(teacher || student) + MSE(their encoder's last hidden states) + MSE(their decoder's)

for each row: the divergence of the next token averaged over the target's tokens, in nats, the squares over the real
columns and all dimensions. MPT's paper (Wang et al., ICLR 2023) names the terms; which layers its code compares could
not be read.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dept_vl.backbones.frozen import Labels, States, count_targets


def distance(student: States, teacher: States, labels: Labels) -> Float[Tensor, " batch"]:
    """In fp32; zero where they are the same. Raises: ValueError for a row without a target."""
    ours, theirs = (each.logits.float().log_softmax(-1) for each in (student, teacher))
    nats = F.kl_div(ours, theirs, reduction="none", log_target=True).sum(-1)  # [batch, target]
    found = nats.masked_fill(labels == -100, 0).sum(1) / count_targets(labels)
    for (own, real), (given, _) in zip(student.hidden, teacher.hidden, strict=True):
        squares = (own.float() - given.float()).square().mean(-1).masked_fill(real == 0, 0)  # [batch, column]
        found = found + squares.sum(1) / (real != 0).sum(1)
    return found
