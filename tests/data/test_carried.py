"""What a tokenizer loses of a text is counted, with examples; what it is meant to do is no loss."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dept_vl.data.batches import EncodedExamples
from dept_vl.data.carried import Loss, LostText, measure, survives, tell
from dept_vl.data.tokenizer import load_tokenizer
from dept_vl.registry import DeptVLWarning
from dept_vl.tasks.example import Example
from tests.data.tiny_tokenizers import write_llama
from tests.tiny_models import write_tiny_gpt2


@pytest.fixture(scope="module")
def known(tmp_path_factory, byte_t5):
    folder = tmp_path_factory.mktemp("tokenizers")
    write_tiny_gpt2(folder / "words")  # one token for end, beginning and unknown
    return {
        "tiny-t5": load_tokenizer("tiny-t5"),
        "byte_t5": load_tokenizer(str(byte_t5)),
        "llama": load_tokenizer(str(write_llama(folder / "llama")), pad_token="</s>"),
        "words": load_tokenizer(str(folder / "words"), pad_token="<|endoftext|>"),
    }


@pytest.fixture(scope="module")
def t5(real):
    return load_tokenizer(str(real / "tokenizers" / "t5"))


def changed(tokenizer, folder, **parts):
    """The tokenizer with another normalizer or pre-tokenizer."""
    tokenizer.save_pretrained(folder)
    made = load_tokenizer(str(folder))
    for name, part in parts.items():
        setattr(made.backend_tokenizer, name, part)
    return made


def examples(*rows):
    return [
        Example(place, source, targets, (1 / len(targets),) * len(targets), targets)
        for place, (source, targets) in enumerate(rows)
    ]


def encode(tokenizer, rows, kind="seq2seq", **more):
    return EncodedExamples(rows, tokenizer, kind=kind, max_source_length=30, max_target_length=30, **more)


def test_t5_loses_what_its_users_report(t5):
    """google-research/text-to-text-transfer-transformer#390."""
    loss = measure(t5, ["red", "naïve", "a <b> c", "红色", "Blue"])
    assert (loss.texts, loss.unknown, loss.read_back, loss.altered, loss.share) == (5, 3, 2, 0, 0.6)
    assert loss.examples == (("naïve", "nave"), ("<b>", "b>"), ("红色", ""))


def test_a_special_token_in_a_text_is_lost(t5, known):
    assert measure(t5, ["say </s> now", "now"]).examples == (("</s>", ""),)
    assert measure(known["tiny-t5"], ["<pad>", "now"]).altered == 1


@pytest.mark.parametrize(
    "text",
    ["ﬁne ①②", "a  b\n\tc ", "“quote” – dash…", "e\u0301te\u0301", "x\u200bx", "I don't , you 're .", "", "▁", "日"],
)
def test_white_space_lower_case_and_nfkc_are_no_loss(text, t5, known):
    for tokenizer in (t5, known["tiny-t5"], known["byte_t5"]):
        if text != "日" or tokenizer is not t5:
            assert measure(tokenizer, [text, text.upper()]).share == 0, tokenizer.name_or_path


@given(st.text(st.characters(blacklist_categories=["Cs"]), max_size=20).filter(lambda text: "<" not in text))
def test_bytes_carry_any_text(known, text):
    assert measure(known["byte_t5"], [text]).share == measure(known["tiny-t5"], [text]).share == 0


def test_what_a_normalizer_drops_is_a_loss_and_what_it_rewrites_is_not(known, tmp_path):
    from tokenizers import Regex, normalizers

    drops = changed(known["byte_t5"], tmp_path, normalizer=normalizers.Replace(Regex("[^a-z ]"), ""))
    assert measure(drops, ["red", "café", "日本", "a-b"]).altered == 2
    rewrites = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()])
    assert measure(changed(known["byte_t5"], tmp_path, normalizer=rewrites), ["Café", "İstanbul", "red"]).share == 0


def test_a_character_that_goes_without_a_trace_is_a_loss(known, tmp_path):
    from tokenizers import pre_tokenizers

    kept = known["byte_t5"].backend_tokenizer.pre_tokenizer
    parts = pre_tokenizers.Sequence([pre_tokenizers.Split("é", "removed"), kept])
    loss = measure(changed(known["byte_t5"], tmp_path, pre_tokenizer=parts), ["a café", "red"])
    assert (loss.unknown, loss.altered, loss.examples) == (0, 1, (("café", "caf"),))


def test_survival_is_of_letters_not_of_their_number():
    assert survives("Ab c", " abc", "ab c") and not survives("Ab c", " abc", None)
    assert not survives("abc", "acb", "abc") and not survives("aé", "a", "a")


def test_every_unknown_token_is_counted_and_a_drawn_part_of_the_rest_is_read_back(known, monkeypatch):
    texts = [f"red {place}" for place in range(50)]
    assert measure(known["llama"], [*texts, "Z", "Q red"]).unknown == 2
    monkeypatch.setattr("dept_vl.data.carried._READ_BACK", 10)
    loss = measure(known["byte_t5"], ["</s>", *texts])  # the first one is among those that are drawn
    assert (loss.texts, loss.read_back, loss.altered) == (51, 10, 1) and loss.share == pytest.approx(0.1)


def test_that_none_survives_is_not_left_to_a_draw(known, monkeypatch):
    monkeypatch.setattr("dept_vl.data.carried._READ_BACK", 3)
    lost = [f"</s> {place}" for place in range(20)]
    assert measure(known["byte_t5"], lost).total
    one = measure(known["byte_t5"], [lost[0], "red", *lost[1:]])  # 3 of 21 are drawn, not the second
    assert (one.read_back, one.altered, one.total) == (21, 20, False)
    assert not measure(known["byte_t5"], []).total


@pytest.mark.parametrize("kind", ["seq2seq", "causal"])
def test_tokens_around_a_text_are_not_its_own(known, kind):
    """GPT-2's end token is its unknown token too, and the cue has words of its own."""
    encoded = encode(known["words"], examples(("red star", ("one", "two")), ("a zebra", ("one", "zebra"))), kind)
    assert [encoded.losses[what].unknown for what in ("sources", "targets")] == [1, 1]
    assert encoded.losses["targets"].examples == (("zebra", ""),)


def test_examples_count_their_different_texts_once(known):
    rows = examples(("red Z", ("be", "Zed")), ("red Z", ("Zed",)), ("the", ("be",)))
    encoded = encode(known["llama"], rows, trained=False)
    assert {name: number for name, number in encoded.counts.items() if "_cut" not in name} == {
        "sources_unknown": 1, "targets_unknown": 1, "sources_altered": 0, "targets_altered": 0,
    }  # fmt: skip
    assert encoded.losses["sources"].texts == encoded.losses["targets"].texts == 2


LOST = Loss(texts=200, unknown=1, read_back=199, altered=1, examples=(("naïve", "nave"),))


def test_a_loss_is_told_above_a_share_and_refused_where_all_is_lost():
    tell("train: targets", LOST)  # one in a hundred
    with pytest.warns(
        DeptVLWarning, match="train: targets: 1.5 % of 200 are not carried .* 'naïve' comes back as 'nave'"
    ):
        tell("train: targets", dataclasses.replace(LOST, unknown=2))
    with pytest.warns(DeptVLWarning):
        tell("labels", LOST, above=0.0)
    all_lost = dataclasses.replace(LOST, unknown=200, read_back=0, altered=0)
    with pytest.raises(
        LostText, match="targets: wanted .* given 200 of which none survives .*'nave'.; choose a backbone"
    ):
        tell("targets", all_lost, refuse=True)
    with pytest.warns(DeptVLWarning, match="100.0 %"):
        tell("targets", all_lost)
