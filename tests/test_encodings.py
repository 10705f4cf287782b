"""No locale decides what the package reads or writes: text files name their encoding, programs get a locale of ours."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SOURCES = sorted(
    path
    for pattern in ("dept_vl/**/*.py", "scripts/*.py", "benchmarks/*.py", "docs/*.py", "setup.py")
    for path in REPOSITORY.glob(pattern)
)
NO_FILES = {"os", "Image", "FeatureStore"}  # whose `open` gives no text
STARTS = {"run", "Popen", "call", "check_call", "check_output"}


def violations(source: str) -> Iterator[str]:
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        owner = getattr(getattr(call.func, "value", None), "id", "")
        given = {each.arg: each.value for each in call.keywords}
        if owner == "subprocess" and name in STARTS:
            if "env" not in given:
                yield f"line {call.lineno}: {name} without env"
            if {"text", "universal_newlines"} & set(given):
                yield f"line {call.lineno}: {name} with text, wanted encoding"
        elif (name in ("read_text", "write_text") or _opens_text(name, owner, call, given)) and "encoding" not in given:
            yield f"line {call.lineno}: {name} without encoding"


def _opens_text(name: str, owner: str, call: ast.Call, given: dict) -> bool:
    if name not in ("open", "fdopen") or (name == "open" and owner in NO_FILES):
        return False
    first = name == "fdopen" or isinstance(call.func, ast.Name) or owner in ("gzip", "io")  # then the file comes first
    mode = given.get("mode", call.args[first] if len(call.args) > first else None)
    mode = mode.value if isinstance(mode, ast.Constant) else "rb" if owner == "gzip" else "r"
    return "t" in mode if owner == "gzip" else "b" not in mode


def test_text_files_name_their_encoding_and_programs_their_locale():
    found = {path: list(violations(path.read_text(encoding="utf-8"))) for path in SOURCES}
    assert len(found) > 100 and {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("path.read_text()", 1), ("path.read_text(encoding='utf-8')", 0), ("open(path)", 1), ("open(path, 'rb')", 0),
        ("path.open('a')", 1), ("path.open(mode='wb')", 0), ("path.write_text(text)", 1), ("gzip.open(path)", 0),
        ("gzip.open(path, 'rt')", 1), ("os.fdopen(1, 'w')", 1), ("Image.open(path)", 0), ("subprocess.run(words)", 1),
        ("subprocess.Popen(words, env=found, text=True)", 1), ("subprocess.run(words, env=found)", 0),
    ],
)  # fmt: skip
def test_what_is_found(source, found):
    assert len(list(violations(source))) == found
