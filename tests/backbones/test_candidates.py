import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dept_vl.backbones import BadCandidates, CandidateTree, candidates, choose
from tests.backbones.conftest import WRITERS

END, POINT, SPACE = 1, 30, 31
DIGIT = [3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
SETS = {
    "one token each": [[DIGIT[0], END], [DIGIT[1], END], [DIGIT[2], END]],
    "zero is two pieces": [[SPACE, DIGIT[0], END], [DIGIT[1], END], [DIGIT[2], END]],
    "one begins the other": [[20, END], [20, 21, END], [20, 21, 22, END], [23, END]],
    "words that part late": [[20, 21, 22, END], [20, 21, 24, 25, END], [20, 26, END], [27, 28, END]],
    "the 51 scores": [[DIGIT[tenths // 10], POINT, DIGIT[tenths % 10], END] for tenths in range(51)],
    "one alone": [[20, 21, END]],
}
backbones = pytest.mark.parametrize("name", WRITERS)


def text_of(backbone, number: int = 24, prompt: int = 2, seed: int = 0):
    """[prompt, text, pads] of texts of 1 to 7 tokens."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.arange(number) % 7 + 1
    ids = torch.randint(3, len(backbone.embedding_table), (number, 7), generator=generator)
    start = torch.randn(prompt, backbone.d_model, generator=generator).expand(number, -1, -1)
    real = torch.arange(7) < lengths[:, None]
    mask = torch.cat([torch.ones(number, prompt), real], dim=1).long()
    return torch.cat([start, backbone.embed(ids)], dim=1), mask


def restricted(backbone, embeds, mask, rows: list[list[int]]) -> list[int]:
    """The same choice by transformers: one row at a time, greedy, told at each step which tokens are allowed."""
    skipped = 1 if backbone.kind == "seq2seq" else 0  # the decoder's start token

    def allowed(_: int, said: torch.Tensor) -> list[int]:
        said = said[skipped:].tolist()
        return [row[len(said)] for row in rows if row[: len(said)] == said and len(row) > len(said)] or [END]

    backbone.model.generation_config.eos_token_id = END
    chosen = []
    for row, own in zip(embeds, mask.bool(), strict=True):
        said = backbone.model.generate(
            inputs_embeds=row[own][None], attention_mask=own[own][None].long(),
            max_new_tokens=max(map(len, rows)), prefix_allowed_tokens_fn=allowed, do_sample=False,
        )[0, skipped:].tolist()  # fmt: skip
        chosen.append(rows.index(said[: said.index(END) + 1]))
    return chosen


@backbones
@pytest.mark.parametrize("rows", SETS.values(), ids=SETS)
def test_the_choice_is_that_of_greedy_decoding_restricted_to_the_candidates(load, name, rows):
    backbone = load(name)
    embeds, mask = text_of(backbone)
    chosen = choose(backbone, embeds, mask, CandidateTree(rows), prompt_length=2)
    assert chosen.tolist() == restricted(backbone, embeds, mask, rows)
    assert len(set(chosen.tolist())) >= min(2, len(rows)), "a model that always says the same tests nothing"


@backbones
@pytest.mark.parametrize("seed", range(3))
def test_where_free_greedy_decoding_says_a_candidate_it_is_chosen(load, name, seed):
    """The candidates: all free answers, and others that go the same way and then leave it."""
    backbone = load(name)
    embeds, mask = text_of(backbone, seed=seed)
    backbone.model.generation_config.eos_token_id = None
    free = backbone.generate(embeds, mask, max_new_tokens=3, num_beams=1, prompt_length=2)
    free = free[:, -3:].tolist()  # without the decoder's start token
    size = len(backbone.embedding_table)
    others = [[*row[:keep], *[(token + 7) % size for token in row[keep:]]] for row in free for keep in range(3)]
    rows = [list(row) for row in dict.fromkeys(map(tuple, [*others[::2], *free, *others[1::2]]))]
    chosen = choose(backbone, embeds, mask, CandidateTree(rows), prompt_length=2)
    assert [rows[each] for each in chosen.tolist()] == free
    assert len({tuple(row) for row in free}) > 5


@backbones
def test_padding_and_the_size_of_a_batch_change_no_choice(load, name, monkeypatch):
    backbone, tree = load(name), CandidateTree(SETS["the 51 scores"])
    embeds, mask = text_of(backbone)
    wanted = choose(backbone, embeds, mask, tree)
    wider = torch.nn.functional.pad(embeds, (0, 0, 0, 3), value=5.0), torch.nn.functional.pad(mask, (0, 3))
    assert torch.equal(choose(backbone, *wider, tree), wanted)
    asked = []
    ask = backbone.next_token_logits
    monkeypatch.setattr(
        backbone, "next_token_logits", lambda part, *rest, **more: asked.append(len(part)) or ask(part, *rest, **more)
    )
    five_rows = 5 * 5 * 3 * len(backbone.embedding_table)  # rows, paths, positions, vocabulary
    monkeypatch.setattr(candidates, "MAX_LOGITS", five_rows)
    assert torch.equal(choose(backbone, embeds, mask, tree), wanted)
    assert asked == [5, 5, 5, 5, 4]
    monkeypatch.setattr(candidates, "MAX_LOGITS", 1)
    assert torch.equal(choose(backbone, embeds, mask, tree), wanted) and asked[5:] == [1] * 24


def test_the_51_scores_of_256_rows_stay_within_half_a_gibibyte_at_a_vocabulary_of_32k():
    paths, length = CandidateTree(SETS["the 51 scores"]).prefixes.shape
    row = paths * (length + 1) * 32_128 * 4  # bytes
    rows = candidates.MAX_LOGITS * 4 // row
    assert 2 * rows * row <= 1 << 29 and rows >= 64  # twice: while the paths are stacked


def test_only_places_with_a_choice_are_asked():
    beginnings = {name: CandidateTree(rows).prefixes.tolist() for name, rows in SETS.items()}
    assert beginnings["one token each"] == beginnings["zero is two pieces"] == [[]]
    assert beginnings["one begins the other"] == [[20, 21]]  # 20 lies on its way
    assert beginnings["words that part late"] == [[20, 21]]
    assert beginnings["the 51 scores"] == [[digit, POINT] for digit in DIGIT[:5]]  # behind 5 and . there is only 0
    assert CandidateTree([[3, 4, 5], [3, 4, 6], [7, 8], [7, 9]]).prefixes.tolist() == [[3, 4], [7, 0]]


def test_a_single_candidate_asks_nothing(load):
    backbone = load("gpt2")
    backbone.next_token_logits = None
    tree = CandidateTree([[20, END]])
    assert choose(backbone, *text_of(backbone, 5), tree).tolist() == [0] * 5 and len(tree) == 1


@settings(max_examples=200)
@given(
    rows=st.sets(st.lists(st.integers(2, 6), max_size=4).map(tuple), min_size=1, max_size=12),
    values=st.randoms(use_true_random=False),
)
def test_a_tree_is_walked_as_by_hand_ties_included(rows, values):
    rows = [[*row, END] for row in rows]
    tree = CandidateTree(rows)
    table: dict[tuple, list[torch.Tensor]] = {}

    def said(beginning: tuple) -> torch.Tensor:
        """[batch, vocabulary]: four rows, few different logits."""
        if beginning not in table:
            table[beginning] = torch.tensor([[float(values.randint(0, 2)) for _ in range(7)] for _ in range(4)])
        return table[beginning]

    paths, length = tree.prefixes.shape
    logits = torch.zeros(4, paths, length + 1, 7)
    for path, beginning in enumerate(tree.prefixes.tolist()):
        for position in range(length + 1):
            logits[:, path, position] = said(tuple(beginning[:position]))
    wanted = []
    for row in range(4):
        walked: list[int] = []
        while walked not in rows:
            allowed = {each[len(walked)] for each in rows if each[: len(walked)] == walked}
            best = said(tuple(walked))[row]
            walked.append(min(allowed, key=lambda token: (-float(best[token]), token)))
        wanted.append(rows.index(walked))
    assert tree.read(logits).tolist() == wanted


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "wanted at least one candidate, given none"),
        ([[3, 1], []], "candidate 1: wanted at least one token, given none"),
        ([[3, 1], [4, 1], [3, 1]], "candidates 0 and 2: wanted different tokens, given [3, 1] twice"),
        ([[3, 4, 5], [3]], "candidate 1 ([3]) ends where candidate 0 ([3, 4, 5]) goes on: wanted the end-of-sequence"),
    ],
)
def test_candidates_that_cannot_be_told_apart_are_refused(rows, message):
    with pytest.raises(BadCandidates, match=re.escape(message)):
        CandidateTree(rows)
