"""OpenAI's address, by plain HTTP and by OpenAI's own client."""

import json

import pytest

from tests.serve.http.conftest import as_base64, png

URL = f"data:image/png;base64,{as_base64(png())}"
PICTURE = {"type": "image_url", "image_url": {"url": URL, "detail": "low"}}
QUESTION = {"type": "text", "text": "what shape"}


def chat(client, model, *content, **more):
    message = {"role": "user", "content": content[0] if isinstance(content[0], str) else list(content)}
    return client.post("/v1/chat/completions", json={"model": model, "messages": [message], **more})


def text_of(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"]


def test_each_task_reads_its_message(client, model):
    question = model.answer([png()], ["what shape"], ["pt"])[0]
    assert text_of(chat(client, "pt", QUESTION, PICTURE)) == text_of(chat(client, "pt", PICTURE, QUESTION)) == question
    assert text_of(chat(client, "caption", PICTURE)) == model.caption([png()], ["caption"])[0]
    assert text_of(chat(client, "text", "what shape")) == model.answer(None, ["what shape"], ["text"])[0]
    asked = {"sentence": "is there a star ?"}
    wanted = model.classify([asked], ["sst2"])[0]
    for content in (json.dumps(asked), asked["sentence"]):
        assert text_of(chat(client, "sst2", content)) == wanted


def test_the_answer_has_openais_form(client):
    answer = chat(client, "text", "what shape", temperature=0.7, top_p=0.9, seed=3, user="me").json()
    assert answer["object"] == "chat.completion" and answer["model"] == "text" and answer["id"].startswith("chatcmpl-")
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "stop" and choice["index"] == 0 and choice["message"]["role"] == "assistant"


def test_lengths(client):
    own = text_of(chat(client, "text", "what shape"))
    for name in ("max_tokens", "max_completion_tokens"):
        assert text_of(chat(client, "text", "what shape", **{name: 2})) == " ".join(own.split()[:2]) != own


def test_a_stream_is_one_event_with_the_answer_and_the_end(client):
    own = text_of(chat(client, "text", "what shape"))
    answer = chat(client, "text", "what shape", stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    *events, end = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
    first, last = (json.loads(event)["choices"][0] for event in events)
    assert first["delta"] == {"role": "assistant", "content": own} and first["finish_reason"] is None
    assert last["delta"] == {} and last["finish_reason"] == "stop" and end == "[DONE]"


REFUSED = {
    "no adapter": ({"model": "gpt"}, 404, "GET /v1/models lists, given 'gpt'"),
    "a conversation": ({"messages": [{"role": r, "content": "a"} for r in ("user", "assistant", "user")]}, 422, "one"),
    "a system message": ({"messages": [{"role": "system", "content": "a"}]}, 422, "of the user"),
    "two answers": ({"n": 2}, 422, "n: wanted none"),
    "tools": ({"tools": [{}]}, 422, "tools"),
    "JSON": ({"response_format": {"type": "json_object"}}, 422, "response_format"),
    "a stop": ({"stop": ["a"]}, 422, "stop"),
    "many tokens": ({"max_tokens": 257}, 422, "max_new_tokens: wanted at most 256"),
    "two pictures": ({"content": [PICTURE, PICTURE]}, 422, "at most one picture"),
    "an address": ({"content": [{"type": "image_url", "image_url": {"url": "https://a.b/c.png"}}]}, 422, "itself"),
    "a sound": ({"content": [{"type": "input_audio"}]}, 422, "type"),
    "no picture": ({"model": "pt"}, 422, "'pt' reads an image"),
    "a picture for text": ({"model": "sst2", "content": [PICTURE, QUESTION]}, 422, "reads no picture"),
    "text for captions": ({"model": "caption", "content": [PICTURE, QUESTION]}, 422, "the picture alone"),
    "fields that lack one": ({"model": "sst2", "content": '{"text": "a"}'}, 422, "sentence"),
    "nothing": ({"messages": []}, 422, "messages"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_change_the_answer_is_refused(case, shared):
    change, status, message = REFUSED[case]
    content = change.pop("content", "what shape") if "content" in change else "what shape"
    body = {"model": "text", "messages": [{"role": "user", "content": content}], **change}
    answer = shared.post("/v1/chat/completions", json=body)
    assert answer.status_code == status and message in answer.json()["error"]["message"], answer.text


def test_openais_own_client(client, model):
    openai = pytest.importorskip("openai", reason="skipped: openai is not installed")
    own = openai.OpenAI(base_url="http://testserver/v1", api_key="none", http_client=client, max_retries=0)
    message = {"role": "user", "content": [QUESTION, PICTURE]}
    answer = own.chat.completions.create(model="pt", messages=[message], max_tokens=6)
    assert answer.choices[0].message.content == model.answer([png()], ["what shape"], ["pt"])[0]
    parts = own.chat.completions.create(model="pt", messages=[message], stream=True)
    assert "".join(part.choices[0].delta.content or "" for part in parts) == answer.choices[0].message.content
    assert {each.id for each in own.models.list()} == {"dept", "pt", "caption", "text", "sst2"}
    with pytest.raises(openai.NotFoundError, match="GET /v1/models"):
        own.chat.completions.create(model="gpt", messages=[message])
    with pytest.raises(openai.UnprocessableEntityError, match="reads no conversation"):
        own.chat.completions.create(model="pt", messages=[message, message])


@pytest.mark.parametrize("text", ['{"sentence": "\\ud800"}', '{"sentence": ' + "[" * 600 + "]" * 600 + "}"])
def test_a_message_that_is_an_object_of_no_text_is_refused(text, client):
    """Half a character, which no tokenizer reads, stays as it was typed; what is nested too deeply is named."""
    assert chat(client, "sst2", text).status_code in (200, 422)
