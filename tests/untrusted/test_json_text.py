import pytest

from dept_vl.untrusted.json_text import NotJson, parse_json


def test_a_document_is_read_as_json_reads_it():
    assert parse_json('{"a": [1, "ä"]}') == {"a": [1, "ä"]} and parse_json(b"[true]") == [True]
    assert parse_json('["\\ud83d\\ude00"]') == ["\U0001f600"]
    assert parse_json('{"a": {"b": 1}}', lambda found: list(found)) == ["a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": ', r"cut or broken at character 6 of 6 \(Expecting value, line 1\)"),
        ("[" * 100_000, "nested deeper than any that we write"),
        ("1" * 5000, "broken .*4300 digits"),
        (b'"\xff"', "broken .*utf-8"),
        ('{"a": ["\\ud83d"]}', "broken .*surrogates not allowed"),
    ],
    ids=["cut", "deep", "long", "bytes", "half a character"],
)
def test_whatever_is_no_json_is_one_error(text, message):
    with pytest.raises(NotJson, match=message):
        parse_json(text)
