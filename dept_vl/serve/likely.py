"""Answers with their probabilities: what an adapter says to one row, and what else it might have said.

    P(answer) = p(token_1 | row) p(token_2 | row, token_1) ..., its end token included

with p the softmax of the frozen model, read through the adapter, over its whole vocabulary, whatever the number of
beams. An answer of `max_new_tokens` tokens is cut there, so no end is asked of it. Answers exclude one another: the
probabilities of all sum to 1. Token sequences that spell one text are one answer, with the sum of theirs.

Where the adapter chooses among candidates (a task's labels), p is the softmax over the tokens with which candidates go
on, at each place where they part, and 1 at every other: the probabilities of the candidates sum to 1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dept_vl.backbones import Backbone, CandidateTree
from dept_vl.backbones.frozen import Embeds, Mask
from dept_vl.data.text import encode_targets
from dept_vl.model import Batch, Network
from dept_vl.serve.adapted import AdaptedModel
from dept_vl.serve.rows import Row

LEAST = 0.01
"""The smallest probability of an answer that is looked for. At most 1 / LEAST beginnings of one length have as much,
so this bounds the search, too."""

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Likely:
    """text: as `AdaptedModel` gives it. tokens: its likeliest spelling, the end token included."""

    text: str
    probability: float
    tokens: Tokens


@torch.no_grad()
def likely_answers(model: AdaptedModel, row: Row, *, blind: bool = False, least: float = LEAST) -> list[Likely]:
    """The adapter's own answer, which is `AdaptedModel`'s, then all others of at least that probability, the likeliest
    first; of a row with candidates, all candidates.

    blind: with zeros for visual tokens, as the baseline "blind" of a run.
    """
    batch = model.read([row])
    if row.decoding.candidates:
        return _among_candidates(model, row, batch, blind)
    network, sizes = model.network, row.decoding
    ids = network.generate(batch, max_new_tokens=sizes.max_new_tokens, num_beams=sizes.num_beams, blind=blind)
    own = _answer_of(network.backbone, ids[0].tolist())
    found = answers_above(network.backbone, *network.embed(batch, blind=blind), sizes.max_new_tokens, least)
    found.setdefault(own, float(log_probability(network, batch, own, blind=blind)[0]))
    texts = model.tokenizer.batch_decode([list(each) for each in found], skip_special_tokens=True)
    spelt: dict[str, list[Tokens]] = {}
    for tokens, text in zip(found, texts, strict=True):
        spelt.setdefault(text.strip(), []).append(tokens)
    answers = [
        Likely(text, sum(math.exp(found[each]) for each in ways), max(ways, key=found.__getitem__))
        for text, ways in spelt.items()
    ]
    return sorted(answers, key=lambda each: (own not in spelt[each.text], -each.probability))


def log_probability(
    network: Network, batch: Batch, answer: Sequence[int], *, blind: bool = False
) -> Float[Tensor, " batch"]:
    """log P(answer) of every row of the batch, in nats: one pass of the frozen model over the answer's tokens."""
    labels = torch.tensor([answer], device=batch.input_ids.device).expand(len(batch.input_ids), -1)
    with torch.no_grad():
        return -network.backbone.loss(*network.embed(batch, blind=blind), labels) * len(answer)


def answers_above(backbone: Backbone, embeds: Embeds, mask: Mask, longest: int, least: float) -> dict[Tokens, float]:
    """Every answer to one row with at least that probability, with log P in nats. None is missed: a beginning is at
    least as probable as what it goes on to, so those below `least` are given up. longest: in tokens, the end included.
    """
    ends, found, begun = _ends(backbone), {}, {(): 0.0}
    for length in range(1, longest + 1):
        prefixes = torch.tensor(list(begun), dtype=torch.int64).reshape(len(begun), length - 1)
        logits = backbone.next_token_logits(embeds, mask, prefixes)[0, :, -1]  # [path, vocabulary]
        before = torch.tensor(list(begun.values()), device=logits.device)
        nats = logits.float().log_softmax(-1) + before.unsqueeze(1)
        paths, begun = list(begun), {}
        for path, token in (nats >= math.log(least)).nonzero().tolist():
            ended = token in ends or length == longest
            (found if ended else begun)[*paths[path], token] = float(nats[path, token])
        if not begun:
            break
    return found


def _among_candidates(model: AdaptedModel, row: Row, batch: Batch, blind: bool) -> list[Likely]:
    backbone, candidates = model.backbone, row.decoding.candidates
    tree = CandidateTree(encode_targets(model.tokenizer, candidates, backbone.text_form))
    if len(candidates) == 1:
        nats, own = torch.zeros(1), 0
    else:
        logits = backbone.next_token_logits(*model.network.embed(batch, blind=blind), tree.prefixes)
        nats, own = tree.log_probabilities(logits)[0], int(tree.read(logits)[0])
    answers = [
        Likely(row.meanings.get(text, text), math.exp(each), tokens)
        for text, each, tokens in zip(candidates, nats.tolist(), tree.rows, strict=True)
    ]
    return [answers.pop(own), *sorted(answers, key=lambda each: -each.probability)]


def _answer_of(backbone: Backbone, ids: Sequence[int]) -> Tokens:
    """What was generated, without the decoder's start in front and the pads behind."""
    ids = ids[1:] if backbone.kind == "seq2seq" else ids
    ends = _ends(backbone)
    last = next((place for place, token in enumerate(ids) if token in ends), len(ids) - 1)
    return tuple(ids[: last + 1])


def _ends(backbone: Backbone) -> set[int]:
    ends = backbone.model.generation_config.eos_token_id
    return set(ends) if isinstance(ends, list) else {ends}
