"""A trained adapter as the start of another: what overlaps is copied, what does not is told.

Prompt tuning transfer (SPoT, Vu et al., ACL 2022) starts a prompt from a source task's; DePT starts its prompt and its
low-rank pair so. Sizes may differ: rows and ranks that both have are copied, so a target at least as large starts as
the same function on every position that the source was trained on.
"""

import torch

from dept_vl.adapters.contract import Adapter
from dept_vl.adapters.dept import DePT
from dept_vl.adapters.dpt import DPT
from dept_vl.adapters.prompt_tuning import PromptTuning
from dept_vl.adapters.rank_probe import RankProbe
from dept_vl.adapters.residual import ResidualPromptTuning


class WrongSource(ValueError):
    """A source adapter from which the target cannot be started."""


@torch.no_grad()
def copy_overlap(source: Adapter, target: Adapter) -> tuple[str, ...]:
    """Writes the weights that both have from `source` into `target`; returns what was not copied, a line each.

    PT and DePT start from any source through its folded prompt; DPT, residual PT and the rank probe, whose prompt has
    factors, from their own kind. DePT's pair keeps the shift although lora_alpha / sqrt(r) differs: the factor goes
    into B.

    Raises: WrongSource: another width, another kind where that matters, or nothing in common.
    """
    if source.token_dim != target.token_dim:
        raise WrongSource(f"wanted a source of width {target.token_dim}, given {source.token_dim}: another backbone's")
    if isinstance(target, DPT | RankProbe | ResidualPromptTuning):
        if type(source) is not type(target):
            kind, given = type(target).__name__, type(source).__name__
            raise WrongSource(f"wanted a {kind} source, given {given}: its prompt has no such factors")
        notes = _copy_factors(source, target)
        _silence_new_ranks(source, target)
        return notes
    if not isinstance(target, PromptTuning | DePT):
        raise WrongSource(f"wanted a target with weights of its own, given {type(target).__name__}")
    notes = _copy_prompt(source, target)
    if isinstance(target, DePT) and isinstance(source, DePT):
        return (*notes, *_copy_pair(source, target))
    if isinstance(source, DePT):
        return (*notes, "the low-rank pair was left: the target has no shift")
    if isinstance(target, DePT):
        return (*notes, "the low-rank pair starts anew: the source has no shift")
    return notes


def _copy_prompt(source: Adapter, target: PromptTuning | DePT) -> tuple[str, ...]:
    prompt = source.fold().prompt
    rows = min(len(prompt), target.num_virtual_tokens)
    if not rows and not (isinstance(source, DePT) and isinstance(target, DePT)):
        raise WrongSource(f"wanted a source with a prompt, given {len(prompt)} rows for {target.num_virtual_tokens}")
    target.prompt_embeddings[:rows] = prompt[:rows]
    return _unequal("prompt row", len(prompt), target.num_virtual_tokens)


def _copy_pair(source: DePT, target: DePT) -> tuple[str, ...]:
    trained = source.max_length if source.trained_length is None else min(source.max_length, source.trained_length)
    rows, rank = min(trained, target.max_length), min(source.r, target.r)
    target.lora_embedding_A[:rows, :rank] = source.lora_embedding_A[:rows, :rank]
    target.lora_embedding_A[rows:, :rank] = 0  # beside a trained B a random row would be a random shift
    target.lora_embedding_B[:rank] = source.lora_embedding_B[:rank] * (source.scale / target.scale)
    target.lora_embedding_B[rank:] = 0
    target.trained_length = rows
    return (*_unequal("shift row", trained, target.max_length), *_unequal("rank", source.r, target.r))


def _copy_factors(source: Adapter, target: Adapter) -> tuple[str, ...]:
    notes = []
    for name, own in target.named_parameters():
        other = source.get_parameter(name)
        overlap = tuple(slice(0, min(sizes)) for sizes in zip(own.shape, other.shape, strict=True))
        own[overlap] = other[overlap]
        if own.shape != other.shape:
            notes.append(f"{name}: {list(own[overlap].shape)} of {list(other.shape)} went into {list(own.shape)}")
    return tuple(notes)


def _silence_new_ranks(source: Adapter, target: Adapter) -> None:
    """Zero behind what the target has more of, so that it starts as the source's function and can still learn."""
    if isinstance(target, DPT):
        target.prompt_embedding_B[source.r :] = 0
    elif isinstance(target, RankProbe):
        target.probe_V[len(source.probe_sigma) :] = 0
    else:
        target.mlp[2].weight[:, source.bottleneck :] = 0


def _unequal(what: str, given: int, wanted: int) -> tuple[str, ...]:
    if given > wanted:
        return (f"{what}s {wanted} to {given - 1} of the source were left: the target has {wanted}",)
    if given < wanted:
        return (f"{what}s {given} to {wanted - 1} of the target start anew: the source has {given}",)
    return ()
