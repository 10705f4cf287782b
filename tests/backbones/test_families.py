"""The laws over a small random model of every family of decoders. The reference is the plain transformers model over
one row at a time: no pads, no mask, no kept prompt, its own positions."""

import copy
from collections.abc import Callable, Sequence

import pytest
import torch
import transformers
from torch.nn.functional import cross_entropy

from dept_vl.backbones import Backbone, CandidateTree, CausalBackbone, check_laws, choose, load_backbone, quirks
from tests.backbones.families import CAUSAL, LLAMA, NARROW, loader
from tests.backbones.plain_causal import (
    PROMPT,
    SIDES,
    TARGETS,
    TIGHT,
    labels_of,
    reference_greedy,
    reference_logits,
    restricted_greedy,
    rows_of,
    stack,
)

CANDIDATES = [[10, 11, 2], [10, 12, 13, 2], [14, 2], [15, 16, 2]]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory) -> Callable[[str], Backbone]:
    return loader(tmp_path_factory.mktemp("families"), CausalBackbone)


@pytest.fixture(params=CAUSAL)
def name(request) -> str:
    return request.param


@pytest.fixture
def backbone(loaded, name) -> Backbone:
    return loaded(name)


def test_every_type_that_is_taken_on_trust_is_tested():
    known = [getattr(transformers, config, None) for config, _ in CAUSAL.values()]
    assert {each.model_type for each in known if each is not None} == set(quirks.CAUSAL_TYPES) or None in known


@torch.no_grad()
def test_padding_on_any_side_and_other_rows_change_no_logit(backbone):
    plain, labels = backbone.model, labels_of(backbone)
    for prompt in (0, PROMPT):
        rows = rows_of(backbone, prompt)
        wanted = [
            reference_logits(plain, row, labels[place, :number])[:-1]
            for place, (row, number) in enumerate(zip(rows, TARGETS, strict=True))
        ]
        for side in SIDES if prompt else SIDES[:2]:
            logits = backbone.logits(*stack(rows, side, prompt), labels)
            for place, each in enumerate(wanted):
                torch.testing.assert_close(logits[place, : len(each)], each, **TIGHT)


@torch.no_grad()
def test_embeddings_are_read_as_ids_and_the_loss_is_that_of_transformers(backbone):
    ids = torch.tensor([[5, 9, 4, 30, 17, 41, 22, 8, 50, 33, 12]])
    torch.testing.assert_close(backbone.embed(ids)[0], backbone.embedding_table[ids[0]], rtol=0, atol=0)
    ours = backbone.loss(backbone.embed(ids[:, :8]), torch.ones(1, 8).long(), ids[:, 8:])
    labels = ids.masked_fill(torch.arange(11) < 8, -100)
    torch.testing.assert_close(ours[0], backbone.model(input_ids=ids, labels=labels).loss, **TIGHT)
    torch.testing.assert_close(
        backbone.logits(backbone.embed(ids[:, :8]), torch.ones(1, 8).long(), ids[:, 8:])[0],
        backbone.model(input_ids=ids).logits[0, 7:-1],
        **TIGHT,
    )


def test_generation_is_greedy_by_hand_wherever_the_pads_stand(loaded, name):
    backbone = loaded(name)
    rows = rows_of(backbone, PROMPT)
    with torch.no_grad():
        end = reference_greedy(backbone.model, rows[0], 4, -1)[2]  # so that a row ends early, by its second end token
        wanted = [reference_greedy(backbone.model, row, 4, end) for row in rows]
    other = min(set(range(60)) - set(sum(wanted, [])))
    backbone.model.generation_config.eos_token_id = [other, end]
    backbone = CausalBackbone(backbone.model, name=name)
    assert backbone.token_facts()["eos_token_id"] == [other, end]
    for side, shared in (("right", True), ("left", False), ("inside", True)):
        embeds, mask = stack(rows, side, PROMPT)
        answers = backbone.generate(embeds, mask, max_new_tokens=4, num_beams=1, prompt_length=PROMPT * shared)
        pad = backbone.model.generation_config.pad_token_id
        assert [_until(row, end, pad) for row in answers.tolist()] == [_until(row, end, end) for row in wanted]
    assert wanted[0][3:] == [end] and len(set(map(tuple, wanted))) > 1


def _until(row: list[int], end: int, filler: int) -> list[int]:
    """Up to an end; what stands behind it fills the row."""
    place = row.index(end) + 1 if end in row else len(row)
    assert set(row[place:]) <= {filler}
    return row[:place]


def test_generation_from_embeddings_is_that_from_ids(backbone):
    ids = torch.tensor([[0, 0, 5, 9, 4], [7, 30, 17, 41, 22]])
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    sizes = {"max_new_tokens": 4, "num_beams": 2}
    theirs = backbone.model.generate(input_ids=ids, attention_mask=mask, do_sample=False, **sizes)[:, 5:]
    assert torch.equal(backbone.generate(backbone.embed(ids), mask, **sizes), theirs)


@torch.no_grad()
def test_processes_that_hold_parts_read_rows_within_and_beyond_a_window_equally_often(loaded):
    backbone, read = loaded("mistral beyond its window"), []
    backbone.synced = True
    handle = backbone.model.register_forward_pre_hook(lambda *_: read.append(1))
    often = set()
    for columns in (NARROW - 2, NARROW + 6):
        read.clear()
        embeds = torch.randn(1, columns, backbone.d_model)
        mask = torch.ones(1, columns, dtype=torch.int64)
        backbone.next_token_logits(embeds, mask, torch.zeros(1, 0, dtype=torch.int64), prompt_length=2)
        often.add(len(read))
    handle.remove()
    assert len(often) == 1


@torch.no_grad()
def test_a_prompt_is_kept_and_changes_no_logit_and_no_choice(backbone, name):
    """Beyond a window it is not kept. Choices are those of each candidate scored by hand."""
    rows, tree, prefixes = rows_of(backbone, PROMPT), CandidateTree(CANDIDATES), torch.tensor([[4, 8], [16, 0]])
    embeds, mask = stack(rows, "right")
    seen = backbone.next_token_logits(embeds, mask, prefixes, prompt_length=PROMPT)
    kept = [[each.clone() for each in layer] for layer in backbone.prompt_cache._layers]
    for place, row in enumerate(rows):
        for path, length in enumerate((2, 1)):
            wanted = reference_logits(backbone.model, row, prefixes[path, :length])
            torch.testing.assert_close(seen[place, path, : length + 1], wanted, **TIGHT)
    torch.testing.assert_close(backbone.next_token_logits(embeds, mask, prefixes), seen, **TIGHT)
    wanted = []
    for row in rows:

        def behind(said: Sequence[int], row: torch.Tensor = row) -> torch.Tensor:
            return reference_logits(backbone.model, row, torch.tensor(said, dtype=torch.int64))[-1]

        wanted.append(restricted_greedy(behind, CANDIDATES))
    for prompt_length in (0, PROMPT):
        assert choose(backbone, embeds, mask, tree, prompt_length=prompt_length).tolist() == wanted
    assert backbone.prompt_cache.computed == (0 if "beyond" in name else 1)
    for old, new in zip(kept, backbone.prompt_cache._layers, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(old, new, strict=True))


def test_gradients_reach_the_real_tokens_alone_and_stay_float32_under_autocast(backbone):
    labels = labels_of(backbone)
    embeds, mask = stack(rows_of(backbone, PROMPT), "right")
    embeds.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = backbone.loss(embeds, mask, labels)
        backbone.next_token_logits(embeds.detach(), mask, torch.tensor([[4]]), prompt_length=PROMPT)
        backbone.generate(embeds.detach(), mask, max_new_tokens=2, num_beams=1, prompt_length=PROMPT)
    half.sum().backward()
    assert half.dtype == embeds.grad.dtype == torch.float32 and embeds.grad.isfinite().all()
    assert torch.equal(embeds.grad.abs().sum(-1) > 0, mask.bool())
    assert all(weight.grad is None and weight.dtype == torch.float32 for weight in backbone.parameters())
    torch.testing.assert_close(half, backbone.loss(embeds, mask, labels), rtol=0.1, atol=0.2)


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_the_check_at_the_start_passes_too(backbone, dtype):
    backbone = CausalBackbone(copy.deepcopy(backbone.model).to(getattr(torch, dtype)), name=backbone.name)
    check_laws(backbone)


def test_rows_end_where_rotations_would_change_for_the_whole_batch(loaded):
    assert loaded("phi3 of long rotations").max_positions == 48 and loaded("phi3").max_positions == 96
    assert loaded("mistral beyond its window").max_positions == 96
    config = transformers.GPTNeoConfig(window_size=NARROW, max_position_embeddings=96)
    assert quirks.most_positions(config) == NARROW  # of no tested type


def test_a_decoder_that_reads_later_tokens_is_refused(tmp_path):
    config = transformers.Gemma3TextConfig(**LLAMA, head_dim=8, use_bidirectional_attention=True)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(quirks.UnsupportedType, match="gemma3_text model .* given use_bidirectional_attention: True"):
        load_backbone(str(tmp_path), kind="causal")


@torch.no_grad()
def test_eager_attention_gives_the_same_logits_or_is_left(backbone, name):
    rows, labels, config = rows_of(backbone, PROMPT), labels_of(backbone), backbone.model.config
    usual, left = config._attn_implementation, name.startswith("falcon")
    wanted = backbone.logits(*stack(rows, "left", PROMPT), labels)
    assert backbone.attend_eagerly() == (not left)
    found = backbone.logits(*stack(rows, "left", PROMPT), labels)
    assert config._attn_implementation == (usual if left else "eager")
    if not left:
        backbone.model.set_attn_implementation(usual)
    torch.testing.assert_close(found, wanted, **TIGHT)


def test_end_tokens_are_the_models_where_the_generation_config_has_none(loaded):
    model = loaded("llama").model
    model.generation_config.eos_token_id = None
    again = CausalBackbone(model, name="llama")
    assert again.model.generation_config.eos_token_id == again.token_facts()["eos_token_id"] == 2


def test_loss_is_averaged_over_each_rows_own_tokens(loaded):
    backbone = loaded("granite")
    rows, labels = rows_of(backbone, PROMPT), labels_of(backbone)
    loss = backbone.loss(*stack(rows, "right"), labels)
    for place, (row, number) in enumerate(zip(rows, TARGETS, strict=True)):
        target = labels[place, :number]
        wanted = cross_entropy(reference_logits(backbone.model, row, target)[:-1], target)
        torch.testing.assert_close(loss[place], wanted, **TIGHT)
