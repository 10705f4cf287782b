"""Bytes of a good file, broken as transfers, editors and ill-meaning people break them."""

import re

from hypothesis import strategies as st

_VALUES = re.compile(rb'"[^"\\]*"|-?\d+(?:\.\d+)?|true|false|null')
NASTY = (
    b"", b"null", b"true", b"-1", b"0", b"1e999", b"NaN", b"99999999999999999999", b"1" * 5000, b'""', b"[]", b"{}",
    b"[" * 3000, b'{"a":' * 3000, b'"\\ud800"', b'"\\u0000"', b'"../../../../etc/passwd"', b'"/etc/passwd"',
    b"\x00" * 8, b"\xff" * 8, b"\xff\xff\xff\x7f\x00\x00\x00\x00", b"\n\n", b"\t", b'"' + b"x" * 20_000 + b'"',
    b"!!python/object:os.system",
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, base: bytes) -> bytes:
    """`base` after one to four edits: a value or a place replaced by something nasty, bytes changed, cut, doubled."""
    data = base
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(len(data) - 1, 0)))
        values = list(_VALUES.finditer(data[:200_000]))
        match draw(st.sampled_from(["value", "value", "splice", "flip", "cut", "delete", "double"])):
            case "value" if values:
                chosen = values[draw(st.integers(0, len(values) - 1))]
                data = data[: chosen.start()] + draw(st.sampled_from(NASTY)) + data[chosen.end() :]
            case "flip":
                data = data[:place] + bytes([draw(st.integers(0, 255))]) + data[place + 1 :]
            case "cut":
                data = data[:place]
            case "delete":
                data = data[:place] + data[place + draw(st.integers(1, 64)) :]
            case "double":
                data = data[:place] + data[place : place + 200] * 2 + data[place + 200 :]
            case _:
                data = data[:place] + draw(st.sampled_from(NASTY)) + data[place:]
    return data
