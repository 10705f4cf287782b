import unicodedata

import pytest

from dept_vl.tasks.mrqa import MRQA
from dept_vl.tasks.reading import all_plain, first_padded, pad_punctuation, padded_fields
from dept_vl.tasks.text_task import Answer

TASK = MRQA[0]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Who won?", "Who won ?"),
        ("the U.S.", "the U . S ."),
        ("(1990-91), 3%", "( 1990 - 91 ) , 3 %"),
        ("don't", "don ' t"),
        ("snake_case stays", "snake_case stays"),
        ("François Žižek", "François Žižek"),
        ("cafe\u0301!", "cafe\u0301 !"),  # the accent is a character of its own
        ("½ mile, Ⅳ", "½ mile , Ⅳ"),
        ("  two\n\nlines\t", "two lines"),
        ("...", ". . ."),
        ("", ""),
    ],
)
def test_marks_stand_alone_and_letters_numbers_accents_and_underscores_stay(text, wanted):
    assert pad_punctuation(text) == wanted
    assert pad_punctuation(wanted) == wanted


def test_what_is_padded_goes_by_the_unicode_category():
    characters = [chr(code) for code in range(0x20000) if not 0xD800 <= code <= 0xDFFF]
    kept = {each for each in characters if pad_punctuation(f"a{each}b") == f"a{each}b"}
    wanted = {each for each in characters if each in "_ " or unicodedata.category(each)[0] in "NLM"}
    assert kept == wanted


def test_question_and_context_are_padded_and_the_row_stays():
    row = {"question": "Who?", "context": "He (Al).", "answers": ["Al"]}
    assert padded_fields(row) == {"question": "Who ?", "context": "He ( Al ) ."}
    assert row["question"] == "Who?"


def test_published_scoring_knows_the_first_answer_and_official_scoring_all():
    row = {"answers": ["U.S. ", "America", " "]}
    assert first_padded(TASK, row) == Answer(("U . S .",), ("U . S .",))
    assert all_plain(TASK, row) == Answer(("U.S.",), ("U.S.", "America"))


@pytest.mark.parametrize("answers", [[], ["", "  "]])
def test_a_row_without_answers_gives_none(answers):
    for read in (first_padded, all_plain):
        assert read(TASK, {"answers": answers}) == read(TASK, {"answers": {"text": answers}}) == Answer((), ())
