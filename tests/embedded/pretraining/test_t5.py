import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForSeq2SeqLM, T5Config, T5ForConditionalGeneration

from dept_vl.embedded.pretraining import t5
from dept_vl.embedded.pretraining.language import ASKED
from dept_vl.embedded.pretraining.t5 import T5Recipe, WordEncoder, embed_lessons, save_t5, score_t5, tiny_t5, train_t5
from dept_vl.embedded.shapes.world import CELLS, Scene, Thing, held_out

QUICK = T5Recipe(steps=3, batch_size=4, warmup_steps=2, log_every=1)
SCENE = Scene((Thing(0, "large", "red", "circle"), Thing(5, "small", "blue", "cross")), "dark")


@pytest.fixture
def micro(tokenizer) -> T5ForConditionalGeneration:
    return build(tokenizer)


def build(tokenizer) -> T5ForConditionalGeneration:
    """One layer each of width 32: `tiny_t5` in everything but its sizes."""
    sizes = {"d_model": 32, "d_kv": 16, "num_heads": 2, "d_ff": 64, "num_layers": 1, "num_decoder_layers": 1}
    torch.manual_seed(0)
    return T5ForConditionalGeneration(T5Config(**{**tiny_t5(len(tokenizer)).config.to_dict(), **sizes}))


@pytest.fixture
def unscored(monkeypatch):
    """Scores are tested by themselves: greedy decoding of 1,600 answers is most of a short training's time."""
    monkeypatch.setattr(t5, "score_t5", lambda *_, **__: {"mean": 0.5})


def chosen(lessons, *, given: bool, number: int):
    return [lesson for _, lesson in lessons if (lesson.scene is not None) == given][:number]


def test_three_steps_run_and_are_deterministic(tokenizer, unscored):
    runs = []
    for _ in range(2):
        model, log = build(tokenizer), []
        before = {name: weight.clone() for name, weight in model.state_dict().items()}
        assert train_t5(model, tokenizer, QUICK, log.append) == {"mean": 0.5}
        records = [json.loads(line) for line in log]
        assert [record["step"] for record in records] == [1, 2, 3]
        runs.append((model.state_dict(), [record["loss"] for record in records]))
        assert any(not torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    assert runs[0][1] == runs[1][1]
    assert all(torch.equal(weight, runs[1][0][name]) for name, weight in runs[0][0].items())


def test_the_loss_falls(micro, tokenizer, unscored):
    log = []
    recipe = T5Recipe(steps=40, batch_size=16, learning_rate=2e-2, warmup_steps=5, log_every=10)
    train_t5(micro, tokenizer, recipe, log.append)
    first, last = (json.loads(log[index])["loss"] for index in (0, -1))
    assert last["slots"] < 0.6 * first["slots"]


def test_training_never_reads_a_held_out_scene_and_scoring_reads_no_other(
    micro, tokenizer, watch_scenes, none_held_out, unscored
):
    seen = watch_scenes(t5)
    train_t5(micro, tokenizer, T5Recipe(steps=12, batch_size=8, warmup_steps=2, log_every=100), lambda _: None)
    assert none_held_out(seen)
    seen.clear()
    score_t5(micro, tokenizer, questions=2)
    assert seen and all(map(held_out, seen))


def test_scores_are_shares_of_right_answers_by_kind(micro, tokenizer):
    scores = score_t5(micro, tokenizer, questions=3)
    assert set(scores) == {*ASKED, "mean"} and all(0 <= score <= 1 for score in scores.values())


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("right", [0, 1, 4])
def test_who_knows_so_many_answers_scores_so_much(right, told, tokenizer, monkeypatch):
    def answer(model, tokenizer, encode, lessons):
        assert all((lesson.scene is None) == told for lesson in lessons)
        return [lesson.target if index < right else "?" for index, lesson in enumerate(lessons)]

    monkeypatch.setattr(t5, "answer", answer)
    scores = score_t5(tiny_t5(8), tokenizer, questions=4, told=told)
    assert scores == {name: right / 4 for name in (*ASKED, "mean")}


def test_answers_are_greedy_and_leave_the_model_as_it_was(micro, tokenizer, lessons):
    micro.train()
    asked = chosen(lessons, given=True, number=5)
    encode = WordEncoder(tokenizer)
    one, two = (t5.answer(micro, tokenizer, encode, asked) for _ in range(2))
    assert one == two and len(one) == 5 and micro.training


def test_the_encoder_of_words_equals_the_tokenizer(tokenizer, lessons):
    encode = WordEncoder(tokenizer)
    for _, lesson in lessons[:800]:
        for text in (lesson.source, lesson.target):
            assert encode(text) == tokenizer(text)["input_ids"]


@given(st.lists(st.from_regex(r"[a-zA-Z0-9'.,:;?!()-]+", fullmatch=True), min_size=1))
def test_the_encoder_of_words_equals_the_tokenizer_on_any_words(tokenizer, words):
    assert WordEncoder(tokenizer)(" ".join(words)) == tokenizer(" ".join(words))["input_ids"]


def test_a_word_of_two_pieces_is_refused(tokenizer):
    message = "wanted one piece for the Shapes word 'redcircles', the tokenizer gives [2-9]"
    with pytest.raises(ValueError, match=message):
        WordEncoder(tokenizer).word("redcircles")


def test_slots_name_row_column_ground_and_what_the_cell_holds(tokenizer):
    encode = WordEncoder(tokenizer)
    words = [[tokenizer.decode([each]).strip() for each in cell if each] for cell in encode.slots(SCENE)]
    assert words[0] == ["top", "left", "dark", "large", "red", "circle"]
    assert words[4] == ["middle", "center", "dark", "empty"]
    assert words[5] == ["middle", "right", "dark", "small", "blue", "cross"]
    assert [len(cell) for cell in encode.slots(SCENE)] == [6] * CELLS


def test_slots_stand_behind_the_text_as_scaled_sums_of_words(micro, tokenizer, lessons):
    encode, given = WordEncoder(tokenizer), chosen(lessons, given=True, number=3)
    embeds, mask = embed_lessons(micro, encode, given, noise=None)
    table, length = micro.get_input_embeddings().weight, max(len(encode(each.source)) for each in given)
    assert embeds.shape == (3, length + CELLS, 32) and mask[:, length:].all()
    for row, lesson in enumerate(given):
        ids = encode(lesson.source)
        assert mask[row, :length].sum() == len(ids) and torch.equal(embeds[row, : len(ids)], table[ids])
        for cell, words in enumerate(encode.slots(lesson.scene)):
            wanted = table[[word for word in words if word]].sum(0) / 6**0.5
            torch.testing.assert_close(embeds[row, length + cell], wanted)


def test_a_told_lesson_is_text_alone(micro, tokenizer, lessons):
    encode, told = WordEncoder(tokenizer), chosen(lessons, given=False, number=3)
    embeds, mask = embed_lessons(micro, encode, told, noise=None)
    assert mask.sum(1).tolist() == [len(encode(lesson.source)) for lesson in told]
    assert embeds.shape[1] == mask.sum(1).max()


def test_noise_falls_on_slots_alone_and_comes_from_its_generator(micro, tokenizer, lessons):
    encode, given = WordEncoder(tokenizer), chosen(lessons, given=True, number=3)
    still = embed_lessons(micro, encode, given, noise=None)[0]
    one, two = (embed_lessons(micro, encode, given, torch.Generator().manual_seed(7))[0] for _ in range(2))
    assert torch.equal(one, two) and torch.equal(one[:, :-CELLS], still[:, :-CELLS])
    assert (one - still)[:, -CELLS:].std().item() == pytest.approx(0.1, rel=0.1)


def test_the_loss_is_the_mean_of_each_examples_mean(micro, tokenizer, lessons):
    """Text alone: slots stand behind a batch's longest text, so that their distance to a short one varies."""
    told, encode = chosen(lessons, given=False, number=4), WordEncoder(tokenizer)
    with torch.no_grad():
        each = [t5._loss(micro, encode, [lesson], torch.Generator()) for lesson in told]
        whole = t5._loss(micro, encode, told, torch.Generator())
    assert len({len(encode(lesson.source)) for lesson in told}) > 1
    torch.testing.assert_close(whole, torch.stack(each).mean())


def test_every_phase_gives_each_kind_of_question_a_weight_and_each_share_its_part():
    for phase in t5.PHASES:
        assert len(phase.kinds) == len(ASKED) and sum(phase.shares) == pytest.approx(1)
    taught = {kind for phase in t5.PHASES for kind, weight in zip(ASKED, phase.kinds, strict=True) if weight > 0}
    assert taught == set(ASKED)


def test_batches_keep_their_shares_and_scenes_grow():
    recipe = T5Recipe(steps=400, batch_size=4, grow_until=0.5, shares=(0.5, 0.2, 0.3), kinds=(1.0,) * len(ASKED))
    batches = list(t5._batches(recipe))
    assert len(batches) == 400 and {len(lessons) for _, lessons in batches} == {4}
    drawn = [share for share, _ in batches]
    for share, wanted in zip(("slots", "told", "describe"), recipe.shares, strict=True):
        assert drawn.count(share) / 400 == pytest.approx(wanted, abs=0.08)
    for share, lessons in batches:
        assert all((lesson.scene is None) == (share == "told") for lesson in lessons)
        assert all((lesson.kind == "describe") == (share == "describe") for lesson in lessons)
    sizes = [[len(lesson.scene.things) for lesson in lessons if lesson.scene] for _, lessons in batches]
    assert {size for each in sizes[:50] for size in each} == {1}
    assert {size for each in sizes[200:] for size in each} == {1, 2, 3, 4}


def test_pairs_ask_relations_of_two_things():
    recipe = T5Recipe(steps=60, batch_size=4, shares=(1.0, 0.0, 0.0), kinds=(0, 0, 0, 0, 0, 0, 1, 1), pairs=1.0)
    lessons = [lesson for _, batch in t5._batches(recipe) for lesson in batch]
    assert {lesson.kind for lesson in lessons} == {"spatial", "side"}
    assert {len(lesson.scene.things) for lesson in lessons} == {2}


def test_the_step_size_warms_up_stays_and_falls_to_a_twentieth():
    recipe = T5Recipe(steps=1000, warmup_steps=100, decay_from=0.7)
    sizes = [t5._step_size(step, recipe) for step in (0, 49, 99, 500, 700, 850, 999, 5000)]
    assert sizes == pytest.approx([0.01, 0.5, 1.0, 1.0, 1.0, 0.5, 0.05, 0.05])
    assert t5._step_size(999, T5Recipe(steps=1000, warmup_steps=100, decay_from=1.0)) == 1.0


def test_a_saved_model_loads_as_any_t5_and_is_left_unchanged(micro, tokenizer, tmp_path, lessons):
    config, weights = micro.config.to_dict(), {name: w.clone() for name, w in micro.state_dict().items()}
    save_t5(micro, tmp_path)
    assert micro.config.to_dict() == config and micro.dtype == torch.float32
    assert all(torch.equal(weight, weights[name]) for name, weight in micro.state_dict().items())
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, dtype=torch.float32)
    again = t5.load_t5(tmp_path)
    assert again.dtype == torch.float32 and not again.training
    assert all(torch.equal(weight, again.state_dict()[name]) for name, weight in loaded.state_dict().items())
    assert isinstance(loaded, T5ForConditionalGeneration) and loaded.config.dropout_rate == 0.1
    for name, weight in loaded.state_dict().items():
        assert torch.equal(weight, weights[name].half().float()), name
    encode, told = WordEncoder(tokenizer), chosen(lessons, given=False, number=2)
    with torch.no_grad():
        ours, theirs = (t5._loss(model, encode, told, torch.Generator()) for model in (micro, loaded))
    torch.testing.assert_close(theirs, ours, rtol=0.01, atol=0)


def test_tiny_t5_is_of_the_size_that_its_description_says(tokenizer):
    config = tiny_t5(len(tokenizer)).config
    assert (config.d_model, config.num_layers, config.num_decoder_layers, config.dropout_rate) == (128, 4, 4, 0.0)
