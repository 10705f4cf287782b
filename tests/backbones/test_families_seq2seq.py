"""The laws over a small random model of every family of encoder-decoders. The reference is the plain transformers model
over the ids of one row at a time: no pads, no mask, no embeddings."""

import copy
from collections.abc import Callable, Sequence

import pytest
import torch
import transformers

from dept_vl.backbones import Backbone, CandidateTree, Seq2SeqBackbone, check_laws, choose, quirks
from tests.backbones.families import SEQ2SEQ, loader
from tests.backbones.plain_causal import TIGHT, restricted_greedy

LENGTHS, TARGETS = (13, 2, 9, 5), (3, 1, 4, 2)  # beyond LongT5's blocks and T5Gemma's window, and within
CANDIDATES = [[10, 11, 1], [10, 12, 13, 1], [14, 1], [15, 16, 1]]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory) -> Callable[[str], Backbone]:
    return loader(tmp_path_factory.mktemp("families"), Seq2SeqBackbone)


@pytest.fixture(params=SEQ2SEQ)
def backbone(request, loaded) -> Backbone:
    return loaded(request.param)


def rows_of(lengths: Sequence[int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(3, 60, (length,), generator=generator) for length in lengths]


def stack(rows: list[torch.Tensor], fill: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded, by two columns more than the longest needs."""
    ids = torch.full((len(rows), max(map(len, rows)) + 2), fill)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = row
    lengths = torch.tensor([len(row) for row in rows])
    return ids, (torch.arange(ids.shape[1]) < lengths[:, None]).long()


def plain_logits(model, row: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
    """[len(tokens) + 1, vocabulary]: what the plain model says at an answer's beginning and behind each token."""
    first = model.prepare_decoder_input_ids_from_labels(torch.tensor([[5, 6]]))[:, :1]
    given = torch.cat([first, torch.tensor([list(tokens)], dtype=torch.int64)], dim=1)
    return model(input_ids=row[None], decoder_input_ids=given, use_cache=False).logits[0]


def test_every_type_that_is_taken_on_trust_is_tested():
    known = [getattr(transformers, config, None) for config, _ in SEQ2SEQ.values()]
    assert {each.model_type for each in known if each is not None} == set(quirks.SEQ2SEQ_TYPES) or None in known


@torch.no_grad()
def test_padding_and_other_rows_change_no_logit_and_embeddings_are_read_as_ids(backbone):
    rows = rows_of(LENGTHS)
    ids, mask = stack(rows, fill=7)
    labels = stack(rows_of(TARGETS), fill=-100)[0][:, : max(TARGETS)]
    torch.testing.assert_close(backbone.embed(ids), backbone.embedding_table[ids], rtol=0, atol=0)
    logits, loss = backbone.logits(backbone.embed(ids), mask, labels), backbone.loss(backbone.embed(ids), mask, labels)
    for place, (row, number) in enumerate(zip(rows, TARGETS, strict=True)):
        wanted = plain_logits(backbone.model, row, labels[place, : number - 1].tolist())
        torch.testing.assert_close(logits[place, :number], wanted, **TIGHT)
        theirs = backbone.model(input_ids=row[None], labels=labels[place, None, :number]).loss
        torch.testing.assert_close(loss[place], theirs, **TIGHT)


@torch.no_grad()
def test_generation_is_greedy_by_hand(backbone):
    rows = rows_of(LENGTHS)
    ids, mask = stack(rows, fill=7)
    wanted = []
    for row in rows:
        said: list[int] = []
        for _ in range(4):
            said.append(int(plain_logits(backbone.model, row, said)[-1].argmax()))
        wanted.append(said)
    first, second = wanted[0][2], min(set(range(3, 60)) - set(sum(wanted, [])))
    backbone.model.generation_config.eos_token_id = [second, first]  # so that a row ends early
    backbone = Seq2SeqBackbone(backbone.model, name=backbone.name)
    assert backbone.token_facts()["eos_token_id"] == [second, first]
    answers = backbone.generate(backbone.embed(ids), mask, max_new_tokens=4)[:, 1:].tolist()
    for given, said in zip(answers, wanted, strict=True):
        end = said.index(first) + 1 if first in said else len(said)
        assert given[:end] == said[:end] and set(given[end:]) <= {backbone.model.generation_config.pad_token_id}
    assert len(set(map(tuple, wanted))) > 1


@torch.no_grad()
def test_a_search_with_beams_is_transformers_own(backbone):
    ids, mask = stack(rows_of(LENGTHS), fill=7)
    embeds, sizes = backbone.embed(ids), {"max_new_tokens": 5, "num_beams": 3}
    theirs = backbone.model.generate(inputs_embeds=embeds, attention_mask=mask, do_sample=False, **sizes)
    assert torch.equal(backbone.generate(embeds, mask, **sizes), theirs)


@torch.no_grad()
def test_logits_behind_beginnings_and_choices_are_those_by_hand(backbone):
    rows, tree = rows_of(LENGTHS), CandidateTree(CANDIDATES)
    ids, mask = stack(rows, fill=7)
    embeds = backbone.embed(ids)
    seen = backbone.next_token_logits(embeds, mask, torch.tensor([[4, 8], [16, 0]]))
    for place, row in enumerate(rows):
        for path, tokens in enumerate(([4, 8], [16])):
            wanted = plain_logits(backbone.model, row, tokens)
            torch.testing.assert_close(seen[place, path, : len(tokens) + 1], wanted, **TIGHT)
    wanted = []
    for row in rows:

        def behind(said: Sequence[int], row: torch.Tensor = row) -> torch.Tensor:
            return plain_logits(backbone.model, row, said)[-1]

        wanted.append(restricted_greedy(behind, CANDIDATES))
    assert choose(backbone, embeds, mask, tree).tolist() == wanted


def test_gradients_reach_the_real_tokens_alone_and_stay_float32_under_autocast(backbone):
    ids, mask = stack(rows_of(LENGTHS), fill=7)
    labels = stack(rows_of(TARGETS), fill=-100)[0][:, : max(TARGETS)]
    embeds = backbone.embed(ids).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = backbone.loss(embeds, mask, labels)
        backbone.next_token_logits(embeds.detach(), mask, torch.tensor([[4]]))
        backbone.generate(embeds.detach(), mask, max_new_tokens=2)
    half.sum().backward()
    assert half.dtype == embeds.grad.dtype == torch.float32 and embeds.grad.isfinite().all()
    assert torch.equal(embeds.grad.abs().sum(-1) > 0, mask.bool())
    assert all(weight.grad is None and weight.dtype == torch.float32 for weight in backbone.parameters())
    torch.testing.assert_close(half, backbone.loss(embeds, mask, labels), rtol=0.1, atol=0.2)


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_the_check_at_the_start_passes_too(backbone, dtype):
    backbone = Seq2SeqBackbone(copy.deepcopy(backbone.model).to(getattr(torch, dtype)), name=backbone.name)
    check_laws(backbone)


@pytest.mark.parametrize("name", ["bart", "umt5"])
@pytest.mark.parametrize("dropout", [False, True])
def test_layers_that_are_recomputed_drop_out_as_the_model_does(name, dropout, loaded):
    """BART's drop out by their own mode, which transformers needs in training to recompute them."""
    losses, ids = [], torch.randint(3, 60, (2, 9), generator=torch.Generator().manual_seed(1))
    for recompute in (False, True):
        backbone = copy.deepcopy(loaded(name))
        backbone.model.train(dropout)
        if recompute:
            backbone.checkpoint_activations()
        backbone.recompute(True)
        embeds = backbone.embed(ids).detach().requires_grad_(True)
        torch.manual_seed(0)
        loss = backbone.loss(embeds, torch.ones_like(ids), ids[:, :3]).mean()
        loss.backward()
        losses.append((loss.item(), embeds.grad))
    assert losses[0][0] == pytest.approx(losses[1][0], rel=1e-6)
    torch.testing.assert_close(losses[0][1], losses[1][1])
