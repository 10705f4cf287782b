"""docs/serving.md says what the server does: addresses, flags, metrics, statuses, examples."""

import json
import re
from pathlib import Path

import pytest

from dept_vl.serve.http.command import parser
from dept_vl.serve.http.errors import STATUS
from dept_vl.serve.http.schemas import (
    AnswerRequest,
    CaptionRequest,
    ChatRequest,
    ClassifyRequest,
    LoadRequest,
    TextRequest,
)

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "serving.md").read_text(encoding="utf-8")
BODIES = {
    "answer": AnswerRequest, "caption": CaptionRequest, "classify": ClassifyRequest, "generate": TextRequest,
    "chat/completions": ChatRequest, "adapters": LoadRequest,
}  # fmt: skip


def test_every_flag_has_its_place_and_every_limit_its_default():
    flags = {flag for action in parser("dept-vl serve")._actions for flag in action.option_strings if "--" in flag}
    elsewhere = {"--device", "--dtype", "--backbone", "--vision", "--help"}  # in --help, as predict has them
    assert set(re.findall(r"--[a-z][a-z-]+", PAGE)) & flags >= flags - elsewhere
    assert set(re.findall(r"`(--max-[a-z-]+)", PAGE)) <= flags


def test_every_address_and_metric_is_there(shared):
    paths = set(shared.get("/openapi.json").json()["paths"])
    for path in paths:
        assert re.search(rf"{re.escape(path.replace('{id}', ''))}", PAGE), path
    names = set(re.findall(r"^# TYPE (dept_vl_\w+) ", shared.get("/metrics").text, re.MULTILINE))
    assert {name for name in names if not name.endswith("_created")} == set(re.findall(r"`(dept_vl_\w+)", PAGE))


def test_every_status_is_told():
    assert all(re.search(rf"\b{status}\b", PAGE) for status in STATUS)


@pytest.mark.parametrize("name", BODIES)
def test_the_example_of_each_address_is_such_a_body(name):
    """What stands behind -d, with the picture that the shell puts in."""
    asked = rf"curl \S+/v1/{name} -H '[^']*' -d '(\{{(?:[^']|'\$IMAGE')*\}})'"
    found = re.findall(asked, PAGE)
    assert found, name
    for body in found:
        BODIES[name].model_validate_json(body.replace("'$IMAGE'", "aGVsbG8="))
    form = re.search(r"-F 'request=(.*?)'", PAGE)
    assert json.loads(form[1]) and AnswerRequest.model_validate_json(form[1])
