"""Check on one short row of a loaded model the laws that the tests hold over models of the known types.

    embed(ids) = table[ids],      embed(ids) -> logits  =  ids -> logits,      pads change nothing,
    next_token_logits = logits, with the prompt kept or not,      the first generated token has the greatest of them

A type may scale what it embeds, outside the table (Pegasus, Marian) or behind it (BART, Gemma 3), read text in both
directions (BERT), count its pads, or begin its answers in another way in training. Nothing here asks which: all of
it is measured.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from dept_vl.backbones.frozen import Backbone
from dept_vl.backbones.quirks import UnsupportedType
from dept_vl.untrusted.bad_file import reason_of

_SAME = 1e-3  # of the reference's spread, where the same numbers are computed in the same way
_ALIKE = {torch.float32: 1e-3, torch.bfloat16: 0.1}  # where sums are taken in another order
_TEXT, _ANSWER, _PADS = 6, 3, 2  # tokens


def check_laws(backbone: Backbone) -> None:
    """A few forward passes over nine tokens. A logit may differ by 1e-3 of the spread (standard deviation) of the row's
    logits in float32, by 0.1 of it in bfloat16 where sums are taken in another order.

    Raises: UnsupportedType with the law that does not hold and its numbers.
    """
    given = f"{backbone.name}: wanted a model that reads embeddings as it reads token ids, given one of type "
    given += f"{backbone.model.config.model_type}, in which "
    advice = "; docs/backbones.md lists the types that are known to work"
    if any(hasattr(weight, "ds_id") for weight in backbone.model.parameters()):
        raise UnsupportedType(f"{given}nothing can be measured while ZeRO-3 keeps its weights in parts{advice}")
    try:
        for what, limit, wanted, found in _laws(backbone):
            spread = float(wanted.float().std())
            off = float((found.float() - wanted.float()).abs().max()) / spread
            if not off <= limit:  # a NaN is none either
                raise UnsupportedType(f"{given}{what} by {off:.3g} of their spread, at most {limit:g}{advice}")
    except UnsupportedType:
        raise
    except Exception as error:  # a type without what a backbone calls raises what it likes
        reason = f"{type(error).__name__}: {reason_of(error)}"
        raise UnsupportedType(f"{given}a short row ends in {reason}{advice}") from error
    finally:
        backbone.eval()  # the kept prompt goes


@torch.no_grad()
def _laws(backbone: Backbone) -> Iterator[tuple[str, float, Tensor, Tensor]]:
    """What is off where the two tensors differ by more than the limit."""
    ids, labels = _row(backbone)
    embeds, mask, table = backbone.embed(ids), torch.ones_like(ids), backbone.embedding_table
    alike = _ALIKE[table.dtype]
    yield "embedded tokens differ from the rows of the table", _SAME, table[ids], embeds
    wanted = _plain(backbone, ids, labels)  # [1, target, vocabulary]
    yield "logits of embeddings differ from those of ids", _SAME, wanted, _plain(backbone, ids, labels, embedded=True)
    yield "logits behind an answer's true tokens differ", alike, wanted, backbone.logits(embeds, mask, labels)
    for left in (True, False) if backbone.kind == "causal" else (False,):
        pads = (_PADS, 0) if left else (0, _PADS)
        padded = F.pad(embeds, (0, 0, *pads), value=1.0), F.pad(mask, pads)
        side = "left" if left else "right"
        yield f"logits change with pads on the {side}", alike, wanted, backbone.logits(*padded, labels)
    for prompt_length in (0, 2):
        found = backbone.next_token_logits(*padded, labels[:, :-1], prompt_length=prompt_length)
        yield f"logits behind an answer's beginning differ (prompt_length {prompt_length})", alike, wanted, found[:, 0]
    first = backbone.generate(embeds, mask, max_new_tokens=1, num_beams=1)[0, -1]
    best = wanted[0, 0].max()
    chosen = wanted[0, 0] + (best - wanted[0, 0, first])  # shifted by what the choice falls short of the greatest
    yield "generation begins with another token", alike, wanted[0, 0], chosen


def _row(backbone: Backbone) -> tuple[Tensor, Tensor]:
    """Ordinary tokens of a text and of its answer: from the vocabulary's middle, where no special token stands."""
    size = backbone.vocabulary
    tokens = torch.linspace(size * 0.3, size * 0.7, _TEXT + _ANSWER, device=backbone.model.device).long()
    return tokens[None, :_TEXT], tokens[None, _TEXT:]


def _plain(backbone: Backbone, ids: Tensor, labels: Tensor, *, embedded: bool = False) -> Tensor:
    """What transformers says of the ids, or of what they embed as, at each place of the answer. Of a decoder alone,
    place by place, so that no later token can be read."""

    def read(rows: Tensor, **arguments: Tensor) -> Tensor:
        source = {"inputs_embeds": backbone.embed(rows)} if embedded else {"input_ids": rows}
        return backbone.model(**source, use_cache=False, **arguments).logits

    if backbone.kind == "seq2seq":
        start = backbone.model.generation_config.decoder_start_token_id
        return read(ids, decoder_input_ids=F.pad(labels[:, :-1], (1, 0), value=start))
    rows = [torch.cat([ids, labels[:, :place]], dim=1) for place in range(labels.shape[1])]
    return torch.cat([read(row)[:, -1:] for row in rows], dim=1)
