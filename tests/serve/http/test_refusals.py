"""Each limit and each way to ask wrongly: a 4xx with a plain sentence, no path and no trace."""

import asyncio
import json
import threading

import pytest

from dept_vl.backbones import load_backbone
from dept_vl.serve import AdaptedModel
from tests.serve.conftest import saver
from tests.serve.http.conftest import as_base64, ask_by_asgi, png, serving, until
from tests.tiny_models import write_tiny_gpt2

GOOD = {"rows": [{"adapter_id": "text", "question": "what shape"}]}
IMAGE = as_base64(png())


def asked(**row):
    return {"rows": [{"question": "what shape", **row}]}


REFUSED = {
    "no JSON": ("/v1/answer", b"{", 400, "wanted a JSON object as the body"),
    "a list": ("/v1/answer", b"[]", 422, "the body"),
    "deeply nested": ("/v1/generate", b'{"rows":[{"text":{"a":' + b"[" * 50_000, 400, "JSON"),
    "half a character": ("/v1/answer", b'{"rows":[{"question":"\\ud800"}]}', 400, "JSON"),
    "no rows": ("/v1/answer", {}, 422, "rows: wanted a value, given none"),
    "none in it": ("/v1/answer", {"rows": []}, 422, "rows"),
    "no question": ("/v1/answer", {"rows": [{"image": IMAGE}]}, 422, "rows.0.question: wanted a value, given none"),
    "an empty path": (
        "/v1/answer",
        {"rows": [{"question": "?", "image": {"path": ""}}]},
        422,
        'rows.0.image: wanted a file\'s bytes in base64, {"upload": NAME} or {"path": PATH}, given another',
    ),
    "a number for a text": (
        "/v1/generate",
        {"rows": [{"text": 5}]},
        422,
        "rows.0.text: wanted a text, or an object with the row's fields",
    ),
    "another field": ("/v1/answer", {**GOOD, "beams": 2}, 422, "beams: wanted no such field"),
    "a field of a row": ("/v1/caption", {"rows": [{"image": IMAGE, "question": "?"}]}, 422, "rows.0.question"),
    "no beams": ("/v1/answer", {**GOOD, "num_beams": 0}, 422, "num_beams"),
    "many beams": ("/v1/answer", {**GOOD, "num_beams": 9}, 422, "num_beams: wanted at most 8, given 9"),
    "long": ("/v1/answer", {**GOOD, "max_new_tokens": 257}, 422, "max_new_tokens: wanted at most 256, given 257"),
    "many rows": ("/v1/answer", {"rows": GOOD["rows"] * 65}, 422, "rows: wanted at most 64, given 65"),
    "very many rows": ("/v1/answer", {"rows": GOOD["rows"] * 4097}, 422, "rows"),
    "long text": ("/v1/answer", asked(adapter_id="text", question="a" * 20_001), 422, "row 0: wanted at most 20,000"),
    "long field": ("/v1/classify", {"rows": [{"text": {"sentence": ["a" * 20_001]}}]}, 422, "at most 20,000"),
    "unknown adapter": ("/v1/answer", asked(adapter_id="txt"), 404, "unknown adapter 'txt'.*Did you mean 'text'"),
    "another task": ("/v1/caption", {"rows": [{"adapter_id": "pt", "image": IMAGE}]}, 422, "for 'caption'|'caption'"),
    "a picture for text": ("/v1/answer", asked(adapter_id="text", image=IMAGE), 422, "row 0: 'text' cannot see"),
    "no picture": ("/v1/answer", asked(adapter_id="dept"), 422, "row 0: 'dept' reads an image"),
    "no base64": ("/v1/answer", asked(image="@@@"), 422, "row 0: wanted a picture's bytes in base64"),
    "no image": ("/v1/answer", asked(image=as_base64(b"hello")), 422, "row 0: cannot read the image of 5 bytes"),
    "a cut image": ("/v1/answer", asked(image=as_base64(png()[:-200])), 422, "row 0: cannot read the image"),
    "an address": ("/v1/answer", asked(image="http://127.0.0.1/a.png"), 422, "row 0: wanted the picture itself"),
    "another address": ("/v1/answer", asked(image="file:///etc/passwd"), 422, "row 0: wanted the picture itself"),
    "a data URL of text": ("/v1/answer", asked(image="data:text/plain,hello"), 422, "data: URL in base64"),
    "a path without a root": ("/v1/answer", asked(image={"path": "a.png"}), 403, "--image-root"),
    "an upload in JSON": ("/v1/answer", asked(image={"upload": "a"}), 422, "row 0: wanted a part of the form"),
    "fields that lack one": ("/v1/classify", {"rows": [{"adapter_id": "sst2", "text": {"q": "a"}}]}, 422, "sentence"),
    "null in a field": ("/v1/classify", {"rows": [{"adapter_id": "sst2", "text": {"sentence": None}}]}, 422, "null"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_request_gets_a_plain_sentence(case, shared, check_plain):
    path, body, status, message = REFUSED[case]
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = shared.post(path, content=content, headers={"Content-Type": "application/json"})
    check_plain(answer, status, message)
    assert shared.post("/v1/answer", json=GOOD).status_code == 200


@pytest.fixture
def check_plain(tmp_path):
    import re

    def check(answer, status, message):
        assert answer.status_code == status, answer.text
        error = answer.json()["error"]
        assert re.search(message, error["message"]), error["message"]
        assert set(error) == {"message", "type", "param", "code"} and "\n" not in error["message"]
        for secret in (str(tmp_path), "/work", "/tmp", "Traceback", 'File "', "0x7", ".py"):
            assert secret not in answer.text

    return check


def test_addresses_methods_and_types(client, check_plain):
    check_plain(client.get("/v1/nothing"), 404, "Not Found")
    check_plain(client.get("/v1/answer"), 405, "Method Not Allowed")
    check_plain(client.post("/v1/answer", content=b"{}"), 415, "application/json or multipart/form-data, given 'none'")
    plain = {"Content-Type": "text/plain"}
    check_plain(client.post("/v1/chat/completions", content=b"{}", headers=plain), 415, "application/json")
    check_plain(client.post("/v1/adapters", content=b"{}", headers=plain), 415, "application/json")


FORMS = {
    "no JSON part": ({}, {"a": b"1"}, "part called 'request'"),
    "an upload that no row names": ({"request": json.dumps(GOOD)}, {"a": png()}, "'a'"),
    "a row that names none": ({"request": json.dumps(asked(image={"upload": "b"}))}, {"a": png()}, "'b'"),
    "an upload that is no picture": ({"request": json.dumps(asked(image={"upload": "a"}))}, {"a": b"x"}, "row 0"),
}


@pytest.mark.parametrize("case", FORMS)
def test_a_wrong_form(case, shared, check_plain):
    data, files, message = FORMS[case]
    check_plain(shared.post("/v1/answer", data=data, files=files), 422, message)


def test_a_broken_form_and_two_parts_of_one_name(client, check_plain):
    head = {"Content-Type": "multipart/form-data; boundary=x"}
    check_plain(client.post("/v1/answer", content=b"--y\r\nrubbish", headers=head), 400, "")
    none = client.post("/v1/answer", content=b"{}", headers={"Content-Type": "multipart/form-data"})
    check_plain(none, 400, "boundary")
    twice = [("request", (None, "{}")), ("request", (None, "{}"))]
    check_plain(client.post("/v1/answer", files=twice), 422, "two called 'request'")


def test_a_body_that_is_too_large_is_refused_by_its_header_or_while_it_comes(serve, check_plain):
    client, sent = serve(body=1000, bodies=1000), []

    def stream():
        for _ in range(100):
            sent.append(1)
            yield b" " * 100

    head = {"Content-Type": "application/json"}
    check_plain(client.post("/v1/answer", content=b" " * 1001, headers=head), 413, "at most 1,000 bytes")
    check_plain(client.post("/v1/answer", content=stream(), headers=head), 413, "at most 1,000 bytes")
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    check_plain(client.post("/v1/answer", content=stream(), headers=form), 413, "at most 1,000 bytes")
    assert client.post("/v1/answer", json=GOOD).status_code == 200


def test_too_many_pixels(serve, check_plain):
    client = serve(pixels=100)
    check_plain(client.post("/v1/answer", json=asked(image=IMAGE)), 422, "row 0: .*at most 100 pixels")


def test_the_queue_and_the_time(serve, check_plain):
    client = serve(queue=2, rows=2, seconds=0.5)
    engine, over = client.app.state.served.engine, threading.Event()
    engine.call(lambda model: over.wait(20))
    try:
        answers, two = [], {"rows": GOOD["rows"] * 2}
        asking = threading.Thread(target=lambda: answers.append(client.post("/v1/answer", json=two)))
        asking.start()
        until(lambda: engine.waiting == 2)
        full = client.post("/v1/answer", json=GOOD)
        check_plain(full, 429, "at most 2 rows waiting, given 1 beside 2")
        assert int(full.headers["Retry-After"]) >= 1
        asking.join(20)
        check_plain(answers[0], 504, "taken out of the queue")
        assert engine.waiting == 0
    finally:
        over.set()
    assert client.post("/v1/answer", json=GOOD).status_code == 200


def test_a_body_that_does_not_come(serve):
    messages = [{"type": "http.request", "body": b"{", "more_body": True}]

    async def receive():
        return messages.pop() if messages else await asyncio.sleep(20)

    status, body = ask_by_asgi(serve(seconds=0.3).app, receive)
    assert status == 408 and b"within 0.3 seconds" in body


def test_all_bodies_together_are_bounded(serve, check_plain):
    client = serve(body=1000, bodies=1200)
    guard_holds = client.app.middleware_stack
    while type(guard_holds).__name__ != "Guard":
        guard_holds = guard_holds.app
    guard_holds.held = 1100  # what other requests hold at this moment
    full = client.post("/v1/answer", json=GOOD | {"rows": GOOD["rows"] * 3})
    check_plain(full, 429, "memory for bodies")
    assert guard_holds.held == 1100, "what a request held is given back"
    guard_holds.held = 0
    assert client.post("/v1/answer", json=GOOD).status_code == 200 and guard_holds.held == 0


def test_an_answer_that_the_model_has_no_positions_for_is_refused(tmp_path, clip, check_plain):
    """A causal model counts them, so a length below the server's limit may still be too much; shorter ones go on."""
    place = write_tiny_gpt2(tmp_path / "gpt2", n_positions=96)
    save = saver(tmp_path, load_backbone(str(place), kind="causal"), clip)
    folder = save("pt", visual=False, template="{question}", pad_token="<|endoftext|>")
    with serving(AdaptedModel.from_pretrained(folder, backbone=place)) as serve:
        client, row = serve(), {"rows": [{"question": "what shape"}]}
        check_plain(client.post("/v1/answer", json=row | {"max_new_tokens": 200}), 422, "at most 96 positions a row")
        assert client.post("/v1/answer", json=row).status_code == 200


def test_a_defect_shows_nothing(client, model, monkeypatch, check_plain):
    def fail(rows, inside):
        raise RuntimeError(f"{__file__} is broken")

    monkeypatch.setattr(model, "answer_batch", fail)
    check_plain(client.post("/v1/answer", json=GOOD), 500, "its log tells why")


def test_the_token(serve, check_plain):
    client = serve({"token": "secret"})
    for given in (None, b"Bearer other", b"Basic secret", "Bearer é".encode()):
        head = {} if given is None else {"Authorization": given}
        refused = client.post("/v1/answer", json=GOOD, headers=head)
        check_plain(refused, 401, "Authorization: Bearer TOKEN")
        assert refused.headers["WWW-Authenticate"] == "Bearer" and "secret" not in refused.text
    for path in ("/v1/models", "/metrics", "/openapi.json", "/nothing"):
        assert client.get(path).status_code == 401
    assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
    assert client.post("/v1/answer", json=GOOD, headers={"Authorization": "Bearer secret"}).status_code == 200


def test_another_host_is_refused_where_the_server_is_for_this_machine_alone(serve):
    client = serve({"hosts": ("127.0.0.1", "localhost")})
    assert client.get("/healthz", headers={"Host": "localhost:8080"}).status_code == 200
    assert client.get("/healthz", headers={"Host": "elsewhere.example"}).status_code == 400
