"""The reference is the plain transformers model over one row at a time: no pads, no mask, its own positions."""

import json

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from dept_vl.backbones.causal import NothingToContinue, TooManyPositions
from dept_vl.backbones.prompt_cache import MixedPrompts
from tests.backbones.plain_causal import (
    LENGTHS,
    PROMPT,
    SIDES,
    TARGETS,
    TIGHT,
    labels_of,
    reference_greedy,
    reference_logits,
    rows_of,
    stack,
)

NAMES = ("gpt2", "llama")

pytestmark = pytest.mark.parametrize("name", NAMES)


@pytest.fixture
def backbone(load, name):
    return load(name)


@pytest.fixture
def plain(folders, name):
    return AutoModelForCausalLM.from_pretrained(folders[name]).eval()


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("prompt", [0, PROMPT])
@torch.no_grad()
def test_loss_is_that_of_the_plain_model_row_by_row_wherever_the_pads_stand(backbone, plain, prompt, side):
    rows, labels = rows_of(backbone, prompt), labels_of(backbone)
    logits = backbone.logits(*stack(rows, side, prompt), labels)
    loss = backbone.loss(*stack(rows, side, prompt), labels)
    for place, (row, number) in enumerate(zip(rows, TARGETS, strict=True)):
        target = labels[place, :number]
        wanted = reference_logits(plain, row, target)[:-1]
        torch.testing.assert_close(logits[place, :number], wanted, **TIGHT)
        torch.testing.assert_close(loss[place], cross_entropy(wanted, target), **TIGHT)


def test_loss_of_ids_is_that_of_transformers(backbone, plain):
    ids = torch.tensor([[5, 9, 4, 30, 17]])
    ours = backbone.loss(backbone.embed(ids[:, :3]), torch.ones(1, 3).long(), ids[:, 3:])
    labels = ids.masked_fill(torch.arange(5) < 3, -100)
    torch.testing.assert_close(ours[0], plain(input_ids=ids, labels=labels).loss, **TIGHT)


@pytest.mark.parametrize(
    ("side", "shared"),
    [(side, shared) for side in SIDES for shared in (False, True) if not (shared and side == "left")],
)
def test_greedy_answers_are_the_argmax_of_full_forwards_step_by_step(backbone, plain, shared, side):
    rows = rows_of(backbone, PROMPT)
    ids = backbone.model.generation_config
    end = reference_greedy(plain, rows[0], 6, ids.eos_token_id)[2]  # so that one row ends early
    ids.eos_token_id = ids.pad_token_id = end
    wanted = [reference_greedy(plain, row, 6, end) for row in rows]
    embeds, mask = stack(rows, side, PROMPT)
    answers = backbone.generate(embeds, mask, max_new_tokens=6, num_beams=1, prompt_length=PROMPT * shared)
    assert answers.tolist() == wanted
    assert len(set(map(tuple, wanted))) == len(rows) and wanted[0][3:] == [end] * 3


@torch.no_grad()
def test_training_and_generation_say_the_same(backbone):
    """Its own answer as the target: each token is the most likely one there, and the logits agree."""
    embeds, mask = stack(rows_of(backbone, PROMPT), "right")
    answers = backbone.generate(embeds, mask, max_new_tokens=5, num_beams=1, prompt_length=PROMPT)
    taught = backbone.logits(embeds, mask, answers)
    assert torch.equal(taught.argmax(-1), answers)
    for row in range(len(embeds)):
        said = backbone.next_token_logits(embeds, mask, answers[row : row + 1, :-1], prompt_length=PROMPT)
        torch.testing.assert_close(said[row, 0], taught[row], **TIGHT)


@pytest.mark.parametrize("prompt_length", [0, PROMPT])
def test_logits_behind_beginnings_are_those_of_the_plain_model(backbone, plain, prompt_length):
    rows = rows_of(backbone, PROMPT)
    prefixes = torch.tensor([[4, 8, 15], [16, 23, 0]])  # the second has two tokens and a pad
    said = backbone.next_token_logits(*stack(rows, "right"), prefixes, prompt_length=prompt_length)
    assert said.shape == (len(rows), 2, 4, len(backbone.embedding_table))
    for place, row in enumerate(rows):
        for path, length in enumerate((3, 2)):
            wanted = reference_logits(plain, row, prefixes[path, :length])
            torch.testing.assert_close(said[place, path, : length + 1], wanted, **TIGHT)
    none = backbone.next_token_logits(*stack(rows, "right"), prefixes[:1, :0], prompt_length=prompt_length)
    torch.testing.assert_close(none, said[:, :1, :1], **TIGHT)


@pytest.mark.parametrize("num_beams", [1, 3])
def test_the_prompt_is_computed_once_for_many_batches_and_changes_no_answer(backbone, num_beams):
    decoding = {"max_new_tokens": 5, "num_beams": num_beams}
    seen = set()
    for lengths in (LENGTHS, LENGTHS[::-1], (3,), (1, 8)):
        embeds, mask = stack(rows_of(backbone, PROMPT, lengths), "right")
        kept = backbone.generate(embeds, mask, **decoding, prompt_length=PROMPT)
        assert backbone.prompt_cache.computed == 1
        assert torch.equal(kept, backbone.generate(embeds, mask, **decoding))
        seen |= set(map(tuple, kept.tolist()))
        prefix = torch.tensor([[4, 8]])
        torch.testing.assert_close(
            backbone.next_token_logits(embeds, mask, prefix, prompt_length=PROMPT),
            backbone.next_token_logits(embeds, mask, prefix),
            **TIGHT,
        )
    assert backbone.prompt_cache.computed == 1 and len(seen) > 5


def test_nothing_writes_to_what_is_kept(backbone):
    embeds, mask = stack(rows_of(backbone, PROMPT), "right")
    prefix = torch.tensor([[4, 8]])
    backbone.generate(embeds, mask, max_new_tokens=2, num_beams=1, prompt_length=PROMPT)
    before = [[each.clone() for each in layer] for layer in backbone.prompt_cache._layers]
    given = embeds.clone(), mask.clone()
    backbone.generate(embeds, mask, max_new_tokens=4, num_beams=2, prompt_length=PROMPT)
    backbone.next_token_logits(embeds, mask, prefix, prompt_length=PROMPT)
    for old, new in zip(before, backbone.prompt_cache._layers, strict=True):
        assert all(torch.equal(a, b) and b.shape[::2] == (1, PROMPT) for a, b in zip(old, new, strict=True))
    assert torch.equal(given[0], embeds) and torch.equal(given[1], mask)


def test_another_prompt_is_never_answered_with_the_kept_one(backbone):
    embeds, mask = stack(rows_of(backbone, PROMPT), "right")
    first = backbone.generate(embeds, mask, max_new_tokens=5, num_beams=1, prompt_length=PROMPT)
    embeds[:, :PROMPT] += torch.linspace(-3, 3, embeds.shape[2])  # in place, as an optimizer writes
    second = backbone.generate(embeds, mask, max_new_tokens=5, num_beams=1, prompt_length=PROMPT)
    assert backbone.prompt_cache.computed == 2 and not torch.equal(first, second)
    assert torch.equal(second, backbone.generate(embeds, mask, max_new_tokens=5, num_beams=1))
    backbone.next_token_logits(embeds, mask, torch.tensor([[4]]), prompt_length=PROMPT - 1)  # a shorter one
    assert backbone.prompt_cache.computed == 3


@pytest.mark.parametrize("change", ["train", "eval", "dtype"])
def test_the_kept_prompt_goes_when_the_model_changes(backbone, change):
    embeds, mask = stack(rows_of(backbone, PROMPT), "right")
    backbone.generate(embeds, mask, max_new_tokens=2, num_beams=1, prompt_length=PROMPT)
    changed = {
        "train": lambda: backbone.train().train(False),
        "eval": backbone.eval,
        "dtype": lambda: backbone.bfloat16().float(),
    }
    changed[change]()
    backbone.generate(embeds, mask, max_new_tokens=2, num_beams=1, prompt_length=PROMPT)
    assert backbone.prompt_cache.computed == 2


def test_dropout_keeps_no_prompt(backbone):
    embeds, mask = stack(rows_of(backbone, PROMPT), "right")
    backbone.train().generate(embeds, mask, max_new_tokens=2, num_beams=1, prompt_length=PROMPT)
    assert backbone.prompt_cache.computed == 0


def test_rows_of_several_prompts_are_refused_where_one_was_promised(backbone):
    embeds, mask = stack(rows_of(backbone, PROMPT), "right")
    prefix = torch.tensor([[4]])
    backbone.next_token_logits(embeds, mask, prefix, prompt_length=PROMPT)
    embeds[2, 1, 5] += 1
    with pytest.raises(MixedPrompts, match="prompt_length=3: wanted one and the same prompt .* all 4 rows"):
        backbone.next_token_logits(embeds, mask, prefix, prompt_length=PROMPT)
    mask[1, 0] = 0
    with pytest.raises(MixedPrompts, match="wanted a prompt without pads"):
        backbone.next_token_logits(embeds, mask, prefix, prompt_length=PROMPT)


def test_a_row_alone_is_a_row_among_many(backbone):
    rows, labels = rows_of(backbone, PROMPT), labels_of(backbone)
    embeds, mask = stack(rows, "right")
    loss = backbone.loss(embeds, mask, labels)
    answers = backbone.generate(embeds, mask, max_new_tokens=5, num_beams=1, prompt_length=PROMPT)
    for place, (row, number) in enumerate(zip(rows, TARGETS, strict=True)):
        alone, ones = row[None], torch.ones(1, len(row)).long()
        torch.testing.assert_close(backbone.loss(alone, ones, labels[place, None, :number])[0], loss[place], **TIGHT)
        answer = backbone.generate(alone, ones, max_new_tokens=5, num_beams=1, prompt_length=PROMPT)
        assert torch.equal(answer[0], answers[place, : answer.shape[1]])


def test_a_row_of_the_prompt_alone_is_continued_from_the_prompt(backbone, plain):
    rows = rows_of(backbone, PROMPT, (4, 0))
    answers = backbone.generate(*stack(rows, "right"), max_new_tokens=4, num_beams=1, prompt_length=PROMPT)
    end = backbone.model.generation_config.eos_token_id
    assert answers.tolist() == [reference_greedy(plain, row, 4, end) for row in rows]


def test_a_row_of_pads_alone_is_refused(backbone):
    embeds, mask = stack(rows_of(backbone, 0, (4, 0)), "right")
    with pytest.raises(NothingToContinue, match="wanted at least one real token in every row"):
        backbone.generate(embeds, mask, max_new_tokens=4, num_beams=1)
    with pytest.raises(NothingToContinue):
        backbone.loss(embeds, mask, labels_of(backbone, (2, 1)))


def test_a_row_without_a_target_is_refused(backbone):
    labels = labels_of(backbone)
    labels[1] = -100
    with pytest.raises(ValueError, match="wanted at least one target token in every row, given none in 1"):
        backbone.loss(*stack(rows_of(backbone, PROMPT), "right"), labels)


def test_a_row_may_fill_the_models_positions_and_not_pass_them(backbone):
    limit = backbone.max_positions
    embeds, mask = stack(rows_of(backbone, PROMPT, (limit - PROMPT - 3,)), "right")
    message = f"wanted at most {limit} positions a row, given {limit - 3} of prompt and text and 5 of answer"
    backbone.loss(embeds, mask, torch.full((1, 4), 5))
    with pytest.raises(TooManyPositions, match=message):
        backbone.loss(embeds, mask, torch.full((1, 5), 5))
    backbone.model.generation_config.eos_token_id = None
    assert backbone.generate(embeds, mask, max_new_tokens=4, num_beams=1, prompt_length=PROMPT).shape == (1, 4)
    with pytest.raises(TooManyPositions, match=message):
        backbone.generate(embeds, mask, max_new_tokens=5, num_beams=1, prompt_length=PROMPT)
    backbone.next_token_logits(embeds, mask, torch.full((1, 3), 5))
    with pytest.raises(TooManyPositions, match=message):
        backbone.next_token_logits(embeds, mask, torch.full((1, 4), 5))


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("prompt", [0, PROMPT])
def test_gradients_reach_the_real_tokens_alone_and_are_finite(load, name, attention, prompt):
    backbone = load(name, attn_implementation=attention)
    embeds, mask = stack(rows_of(backbone, prompt), "left")
    backbone.loss(embeds.requires_grad_(), mask, labels_of(backbone)).sum().backward()
    assert embeds.grad.isfinite().all()
    assert torch.equal(embeds.grad.abs().sum(-1) > 0, mask.bool())
    assert all(weight.grad is None for weight in backbone.parameters())


def test_only_target_positions_pass_the_vocabulary_projection(backbone):
    seen = []
    backbone.model.lm_head.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1]))
    embeds, mask = stack(rows_of(backbone, PROMPT), "right")
    backbone.loss(embeds, mask, labels_of(backbone))
    backbone.next_token_logits(embeds, mask, torch.tensor([[4, 8]]))
    assert seen == [max(TARGETS), 1, 2]


def test_a_checkpoints_own_penalties_do_not_change_what_greedy_means(backbone, load, folders, name, tmp_path):
    folder = tmp_path / name
    folder.mkdir()
    for file in folders[name].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    settings = json.loads((folder / "generation_config.json").read_text())
    settings |= {"repetition_penalty": 9.0, "do_sample": True, "temperature": 5.0, "max_length": 20}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    other = type(backbone)(AutoModelForCausalLM.from_pretrained(folder), name=name)
    embeds, mask = stack(rows_of(backbone, PROMPT), "right")
    wanted = backbone.generate(embeds, mask, max_new_tokens=8, num_beams=1)
    assert torch.equal(other.generate(embeds, mask, max_new_tokens=8, num_beams=1), wanted)


def test_bf16_autocast_answers_and_its_prompt_is_not_used_outside(backbone):
    embeds, mask = stack(rows_of(backbone, PROMPT), "right")
    labels, prefix = labels_of(backbone), torch.tensor([[4, 8]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        close = {"rtol": 0.05, "atol": 0.3}  # bf16 has 8 bits: 0.4 % of logits of some 20, over two layers
        torch.testing.assert_close(
            backbone.next_token_logits(embeds, mask, prefix, prompt_length=PROMPT),
            backbone.next_token_logits(embeds, mask, prefix),
            **close,
        )
        assert backbone.generate(embeds, mask, max_new_tokens=3, num_beams=2, prompt_length=PROMPT).shape[0] == 4
        half = backbone.loss(embeds, mask, labels)
    assert backbone.prompt_cache.computed == 1 and half.dtype == torch.float32
    torch.testing.assert_close(half, backbone.loss(embeds, mask, labels), rtol=0.05, atol=0.2)
    said = backbone.next_token_logits(embeds, mask, prefix, prompt_length=PROMPT)
    assert backbone.prompt_cache.computed == 2
    torch.testing.assert_close(said, backbone.next_token_logits(embeds, mask, prefix), **TIGHT)


def test_a_model_held_in_bf16_reads_and_answers(load, name):
    full, half = load(name), load(name, dtype="bfloat16")
    rows, labels = rows_of(full, PROMPT), labels_of(full)
    wanted = full.loss(*stack(rows, "right"), labels)
    embeds, mask = stack([row.bfloat16() for row in rows], "right")
    torch.testing.assert_close(half.loss(embeds, mask, labels), wanted, rtol=0.05, atol=0.3)
    half.generate(embeds, mask, max_new_tokens=3, num_beams=1, prompt_length=PROMPT)
    assert half.prompt_cache.computed == 1
