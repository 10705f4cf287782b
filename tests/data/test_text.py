import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dept_vl.data import text as texts
from dept_vl.data.text import CUE, NoRoom, TooLongTarget, encode_targets, tokenise, tokenise_targets
from dept_vl.data.tokenizer import SlowTokenizer, WrongTokenizer, load_tokenizer
from tests.data.tiny_tokenizers import write_gpt2, write_llama

TEXTS = ["red", "what color is the circle", "how many squares are there", ""]
WHOLE = 10_000  # longer than any text here
CAUSAL = ("gpt2", "llama", "llama_eos")


@pytest.fixture(scope="module")
def tokenizer(byte_t5):
    return load_tokenizer(str(byte_t5))


@pytest.fixture(scope="module")
def known(real, byte_t5, tmp_path_factory):
    """Tokenizers by name: T5's and GPT-2's published ones, and tiny ones."""
    folder = tmp_path_factory.mktemp("tokenizers")
    return {
        "t5": load_tokenizer(str(real / "tokenizers" / "t5")),
        "byte_t5": load_tokenizer(str(byte_t5)),
        "gpt2": load_tokenizer(str(write_gpt2(folder / "gpt2", real)), pad_token="<|endoftext|>"),
        "llama": load_tokenizer(str(write_llama(folder / "llama")), pad_token="</s>"),
        "llama_eos": load_tokenizer(str(write_llama(folder / "eos", eos_behind=True)), pad_token="</s>"),
    }


def kind_of(name):
    return "causal" if name in CAUSAL else "seq2seq"


def cuts(table):
    return tuple(table.counts[name] for name in ("cut", "context_cut", "beyond_context_cut"))


def is_subsequence(short, long):
    rest = iter(long)
    return all(any(id == other for other in rest) for id in short)


def test_tokens_are_the_tokenizers_own_with_the_end_token(tokenizer):
    table = tokenise(tokenizer, TEXTS, 100)
    for row, text in enumerate(TEXTS):
        assert table[row].tolist() == tokenizer(text)["input_ids"]
        assert table[row][-1] == tokenizer.eos_token_id
    assert table.lengths.tolist() == [len(table[row]) for row in range(4)]
    assert len(table) == 4 and table.counts["cut"] == 0 and table[0].dtype == np.int32


@pytest.mark.parametrize("most", [4, 9, 14, 100])
def test_where_tokens_stand_is_asked_of_long_texts_alone_and_changes_no_row(tokenizer, monkeypatch, most):
    given = [" ".join(["what", "color", "is", "the", "star"][: 1 + place % 5]) for place in range(30)]
    given += [f"{each} and how many are there" for each in given]  # parts with few long texts, then with many
    contexts = [None if place % 3 else (0, 4) for place in range(60)]
    monkeypatch.setattr(texts, "_PART", 6)
    table, encode = tokenise(tokenizer, given, most, contexts=contexts), texts._encode
    always = lambda *args, most=None, **more: encode(*args, most=None if most is None else 0, **more)  # noqa: E731
    monkeypatch.setattr(texts, "_encode", always)
    plain = tokenise(tokenizer, given, most, contexts=contexts)
    assert [table[row].tolist() for row in range(60)] == [plain[row].tolist() for row in range(60)]
    assert cuts(table) == cuts(plain)


def test_cutting_keeps_the_end_token_and_is_counted(tokenizer):
    whole, cut = tokenise(tokenizer, TEXTS, 100), tokenise(tokenizer, TEXTS, 4)
    longer = [row for row in range(4) if len(whole[row]) > 4]
    assert longer and cuts(cut) == (len(longer), 0, 0)
    for row in range(4):
        wanted = whole[row].tolist() if row not in longer else [*whole[row][:3].tolist(), tokenizer.eos_token_id]
        assert cut[row].tolist() == wanted


def test_a_text_as_long_as_allowed_is_not_cut(tokenizer):
    length = len(tokenizer("red")["input_ids"])
    assert tokenise(tokenizer, ["red"], length).counts["cut"] == 0
    assert tokenise(tokenizer, ["red"], length - 1).counts["cut"] == 1


def test_any_text_comes_back(tokenizer):
    text = " où est le café ? 😀 日本"
    table = tokenise(tokenizer, [text], 200)
    assert tokenizer.decode(table[0].tolist(), skip_special_tokens=True).strip() == text.strip()


def test_thousands_of_texts_keep_their_places(tokenizer):
    texts = [f"{place} red circles" for place in range(2_500)]
    spans = [None if place % 3 else (len(f"{place}"), len(text)) for place, text in enumerate(texts)]
    table = tokenise(tokenizer, texts, 6, contexts=spans)
    for place in (0, 999, 1_000, 1_001, 2_001, 2_499):
        assert table[place].tolist() == tokenise(tokenizer, [texts[place]], 6, contexts=[spans[place]])[0].tolist()
    cut, *of_contexts = cuts(table)
    assert len(table) == 2_500 and 0 < sum(of_contexts) < cut


def test_t5_gives_the_published_ids(known):
    text = "translate English to German: The house is wonderful."
    ids = [13959, 1566, 12, 2968, 10, 37, 629, 19, 1627, 5, 1]
    assert tokenise(known["t5"], [text], 256)[0].tolist() == ids
    assert tokenise(known["t5"], [text], 6, contexts=[(29, 52)])[0].tolist() == [*ids[:5], 1]
    assert encode_targets(known["t5"], ["0", "1", "2"], "seq2seq") == [[3, 632, 1], [209, 1], [204, 1]]


def test_gpt2_reads_the_cue_and_answers_with_a_space(known):
    table = tokenise(known["gpt2"], ["hello world"], 256, kind="causal")
    assert table[0].tolist() == [31373, 995, 36052, 1058]  # hello, world, Label, :
    assert encode_targets(known["gpt2"], ["1"], "causal") == [[352, 50256]]  # " 1" and the end


@given(
    before=st.lists(st.sampled_from(["the", "red", "zebra", "1"]), min_size=1, max_size=6),
    context=st.lists(st.sampled_from(["a", "red", "bird", "the"]), min_size=1, max_size=8),
    after=st.lists(st.sampled_from(["the", "red", "quiz", "2"]), max_size=6),
    share=st.floats(0, 1),
)
@pytest.mark.parametrize("name", ["t5", "byte_t5", *CAUSAL])
def test_the_context_goes_first_from_its_end_then_the_end_of_the_rest(known, name, before, context, after, share):
    """Every part tokenised alone gives what must stand in the cut source."""
    tokenizer, kind = known[name], kind_of(name)
    lead = " " if name == "gpt2" else ""  # the others set a space before a text themselves

    def ids(words, lead=lead):
        return tokenizer(lead + " ".join(words), add_special_tokens=False)["input_ids"] if words else []

    start, middle, end = ids(before, ""), ids(context), ids(after)
    bos = [1] if name.startswith("llama") else []
    tail = ids(["Label", ":"]) if kind == "causal" else [tokenizer.eos_token_id]
    text, first = " ".join([*before, *context, *after]), len(" ".join(before)) + 1
    span = (first, first + len(" ".join(context)))
    whole = [*bos, *start, *middle, *end, *tail]
    assert tokenise(tokenizer, [text], WHOLE, kind=kind, contexts=[span])[0].tolist() == whole

    least = len(bos) + len(tail)
    max_length = least + round(share * (len(whole) - least))
    table = tokenise(tokenizer, [text], max_length, kind=kind, contexts=[span])
    left = max_length - least - len(start) - len(end)  # for the context
    rest = [*start, *middle[:left], *end] if left >= 0 else [*start, *end][:left]
    assert table[0].tolist() == [*bos, *rest, *tail]
    over = max_length < len(whole)
    assert cuts(table) == (over, over and left >= 0, over and left < 0)


@given(
    text=st.text(st.sampled_from("ab the1.é😀½①ßﬁ日\u0301\u200b  \n"), max_size=40),
    edges=st.tuples(st.integers(0, 40), st.integers(0, 40)),
    room=st.integers(1, 30),
)
@pytest.mark.parametrize("name", ["t5", "byte_t5", *CAUSAL])
def test_any_cut_source_is_short_enough_and_made_of_the_whole_ones_tokens(known, name, text, edges, room):
    tokenizer, kind = known[name], kind_of(name)
    cue = tokenise(tokenizer, [""], WHOLE, kind=kind)[0].tolist()
    kept = cue[1:] if name.startswith("llama") else cue
    whole = tokenise(tokenizer, [text], WHOLE, kind=kind)[0].tolist()
    for context in (None, (min(edges), max(edges))):
        table = tokenise(tokenizer, [text], len(cue) + room, kind=kind, contexts=[context])
        row = table[0].tolist()
        assert len(row) == min(len(whole), len(cue) + room) and table.counts["cut"] == (len(row) < len(whole))
        assert is_subsequence(row, whole)
        assert row[-1:] == whole[-1:] and (kind == "seq2seq" or row[1 - len(kept) :] == kept[1:])
        assert not name.startswith("llama") or (row[0] == 1 and row.count(1) == 1)


def test_a_space_before_the_context_goes_with_its_first_word(known):
    """Whether a token holds its space (GPT-2) or the space is a token of its own (sentencepiece)."""
    for name, wanted in (("gpt2", "q:? Label :"), ("llama", "q:? Label :")):
        table = tokenise(known[name], ["q: zebra?"], WHOLE, kind="causal", contexts=[(3, 8)])
        words = len(known[name](" zebra" if name == "gpt2" else "zebra", add_special_tokens=False)["input_ids"])
        cut = tokenise(known[name], ["q: zebra?"], len(table[0]) - words, kind="causal", contexts=[(3, 8)])
        assert known[name].decode(cut[0].tolist(), skip_special_tokens=True) == wanted


def test_a_token_that_reaches_out_of_the_context_is_not_the_contexts(known):
    row = tokenise(known["t5"], ["The house is wonderful"], 2, contexts=[(0, 15)])[0]  # "The house is wo"
    assert row.tolist() == [1627, 1]
    row = tokenise(known["t5"], ["The house is wonderful"], 2, contexts=[(2, 22)])[0]  # "e house is wonderful"
    assert row.tolist() == [37, 1]


@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize("text", ["the red zebra", "the red zebra ", ""])
def test_nothing_stands_behind_the_cue_and_the_begin_token_once_in_front(known, name, text):
    row = tokenise(known[name], [text], WHOLE, kind="causal")[0].tolist()
    assert known[name].decode(row, skip_special_tokens=True).endswith("Label :")
    assert known[name].eos_token_id not in row
    assert row.count(1) == (row[0] == 1) == name.startswith("llama")


@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize("answer", ["1", "0", "-1.0", "yes", "the red zebra", "no, the red one."])
def test_source_and_target_are_the_tokens_of_one_text(known, name, answer):
    tokenizer = known[name]
    source = tokenise(tokenizer, ["the zebra"], WHOLE, kind="causal")[0].tolist()
    target = encode_targets(tokenizer, [answer], "causal")[0]
    together = tokenizer(f"the zebra{CUE} {answer}")["input_ids"]
    assert [*source, *target] == [*together, *([] if name == "llama_eos" else [tokenizer.eos_token_id])]


@pytest.mark.parametrize("name", CAUSAL)
def test_a_causal_target_decodes_back_and_has_no_begin_token(known, name):
    labels = ["1", "0", "entailment", "not entailment", "2.5", "yes 1"]
    rows = encode_targets(known[name], labels, "causal")
    assert [known[name].decode(row, skip_special_tokens=True).strip() for row in rows] == labels
    assert all(row.count(known[name].eos_token_id) == 1 and row[-1] == known[name].eos_token_id for row in rows)
    assert not name.startswith("llama") or all(1 not in row for row in rows)


def test_sentencepiece_sets_one_space_before_a_target_not_two(known):
    llama = known["llama"]
    assert llama.convert_ids_to_tokens(encode_targets(llama, ["1"], "causal")[0]) == ["▁1", "</s>"]
    assert llama.tokenize(" 1") == ["▁", "▁1"]


def test_a_target_stands_alone_where_the_cues_colon_takes_its_space(tmp_path):
    tokenizer = load_tokenizer(str(write_llama(tmp_path, pieces=((":", "▁"),))), pad_token="</s>")
    assert ":▁" in tokenizer.tokenize(f"{CUE} 1")
    (row,) = encode_targets(tokenizer, ["1"], "causal")
    assert tokenizer.convert_ids_to_tokens(row) == ["▁", "▁", "1", "</s>"]


def test_a_long_target_is_cut_and_counted_for_seq2seq_and_refused_for_causal(known):
    text = "a red triangle above a blue star"
    row = encode_targets(known["t5"], [text], "seq2seq")[0]
    table = tokenise_targets(known["t5"], [text, "1"], 5, kind="seq2seq", may_cut=True)
    assert table[0].tolist() == [*row[:4], 1] and table.counts["cut"] == 1
    length = len(encode_targets(known["gpt2"], [text], "causal")[0])
    assert tokenise_targets(known["gpt2"], ["1", text], length, kind="causal", may_cut=False).lengths.tolist() == [
        2,
        length,
    ]
    wanted = f"target '{text}': wanted at most max_target_length={length - 1} tokens, .*, given {length};"
    with pytest.raises(TooLongTarget, match=wanted):
        tokenise_targets(known["gpt2"], ["1", text], length - 1, kind="causal", may_cut=False)


@pytest.mark.parametrize(
    ("name", "least", "held"),
    [("t5", 1, "special tokens,"), ("gpt2", 2, "special tokens and the cue ' Label :',"), ("llama", 7, "the cue")],
)
def test_a_length_without_room_for_what_is_never_cut_is_refused(known, name, least, held):
    tokenizer, kind = known[name], kind_of(name)
    table = tokenise(tokenizer, ["red zebra"], least, kind=kind, contexts=[(0, 3)])
    cue = {"t5": "", "gpt2": CUE, "llama": CUE.lstrip()}[name]
    assert table[0].tolist() == tokenizer(cue)["input_ids"] and len(table[0]) == least
    with pytest.raises(NoRoom, match=f"max_source_length: wanted at least {least}, .*{held}.* given {least - 1}$"):
        tokenise(tokenizer, ["red zebra"], least - 1, kind=kind, contexts=[(0, 3)])


def test_a_tokenizer_without_end_token_cannot_end_an_answer(known, tmp_path):
    known["llama"].save_pretrained(tmp_path)
    tokenizer = load_tokenizer(str(tmp_path))
    tokenizer.eos_token = None
    with pytest.raises(WrongTokenizer, match="wanted an end-of-sequence token, given none"):
        encode_targets(tokenizer, ["1"], "causal")


def test_a_slow_tokenizer_is_named():
    from transformers import ByT5Tokenizer

    with pytest.raises(SlowTokenizer, match="given ByT5Tokenizer"):
        tokenise(ByT5Tokenizer(), ["red"], 9)


@pytest.mark.parametrize("name", CAUSAL)
def test_a_text_with_a_cue_of_its_own_gets_no_other_and_no_end_behind_it(known, name):
    tokenizer, text = known[name], "q: zebra? a:"
    row = tokenise(tokenizer, [text], WHOLE, kind="causal", own_cue=True)[0].tolist()
    plain = tokenise(tokenizer, [text], WHOLE, kind="causal")[0].tolist()
    assert plain[: len(row)] == row and len(plain) > len(row) and tokenizer.eos_token_id not in row[1:]
    assert tokenizer.decode(row, skip_special_tokens=True).strip() == text
    cut = tokenise(tokenizer, [text], len(row) - 1, kind="causal", own_cue=True, contexts=[(3, 9)])
    behind = tokenizer.decode(cut[0].tolist()[-2:]).replace(" ", "")
    assert len(cut[0]) == len(row) - 1 and behind.endswith("a:") and cuts(cut) == (1, 1, 0)
    of_t5 = [tokenise(known["t5"], [text], WHOLE, own_cue=each)[0].tolist() for each in (False, True)]
    assert of_t5[0] == of_t5[1]
