"""Start an adapter from a trained one: copy what overlaps, report the rest.

Prompt tuning transfer (SPoT, Vu et al., ACL 2022) starts a prompt from a source task's; DePT starts its prompt and its
low-rank pair so. Sizes may differ: a target whose rank, bottleneck or shift is at least as large, with as many
prompt tokens, starts as the source's function.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class WrongSource(ValueError):
    """A source adapter from which the target cannot be started."""


@torch.no_grad()
def copy_weights(source: nn.Module, target: nn.Module) -> tuple[str, ...]:
    """Copies what overlaps of each weight; a line for each whose shape differs."""
    notes = []
    for name, own in target.named_parameters():
        other = source.get_parameter(name)
        overlap = tuple(slice(0, min(sizes)) for sizes in zip(own.shape, other.shape, strict=True))
        own[overlap] = other[overlap]
        if own.shape != other.shape:
            notes.append(f"{name}: {list(own[overlap].shape)} of {list(other.shape)} went into {list(own.shape)}")
    return tuple(notes)


@torch.no_grad()
def copy_prompt(
    source: Float[Tensor, "given d_model"], target: Float[Tensor, "prompt d_model"], *, may_be_empty: bool = False
) -> tuple[str, ...]:
    """Copies the first rows of a folded prompt. Raises: WrongSource where there is none to copy."""
    rows = min(len(source), len(target))
    if not rows and not may_be_empty:
        raise WrongSource(f"wanted a source with a prompt, given {len(source)} rows for {len(target)}")
    target[:rows] = source[:rows]
    return unequal("prompt row", len(source), len(target))


def unequal(what: str, given: int, wanted: int) -> tuple[str, ...]:
    """What a start leaves out where the source has `given` of something and the target `wanted`."""
    if given > wanted:
        return (f"{what}s {wanted} to {given - 1} of the source were left: the target has {wanted}",)
    if given < wanted:
        return (f"{what}s {given} to {wanted - 1} of the target start anew: the source has {given}",)
    return ()
