"""Rows in, answers out: each what AdaptedModel alone gives, whatever way its picture came."""

import json

import pytest

from tests.serve.http.conftest import as_base64, png

QUESTIONS = ["what color is the circle ?", "what shape", "how many red", "is there a star on the left ?", "yes no"]


def test_rows_of_several_adapters(client, model, pictures):
    names = ["dept", "pt", "text", "pt", "dept"]
    images = [None if name == "text" else png(seed) for seed, name in enumerate(names)]
    alone = [model.answer([images[k]], [QUESTIONS[k]], [names[k]])[0] for k in range(5)]
    rows = [
        {"adapter_id": name, "question": question} | ({} if image is None else {"image": as_base64(image)})
        for name, question, image in zip(names, QUESTIONS, images, strict=True)
    ]
    assert client.post("/v1/answer", json={"rows": rows}).json() == {"answers": alone}
    assert len(set(alone)) > 3


def test_a_row_that_names_no_adapter_is_the_first_ones(client, model):
    image = png(1)
    answer = client.post("/v1/answer", json={"rows": [{"question": "what shape", "image": as_base64(image)}]}).json()
    assert answer == {"answers": model.answer([image], ["what shape"], ["dept"])}


def test_captions_classes_and_free_answers(client, model):
    images, texts = [png(0), png(1)], [{"sentence": text} for text in QUESTIONS]
    rows = [{"adapter_id": "caption", "image": as_base64(image)} for image in images]
    assert client.post("/v1/caption", json={"rows": rows}).json()["answers"] == model.caption(images, ["caption"] * 2)
    rows = [{"adapter_id": "sst2", "text": text} for text in texts]
    classes = client.post("/v1/classify", json={"rows": rows}).json()["answers"]
    assert classes == model.classify(texts, ["sst2"] * 5) and set(classes) == {"true", "false"}
    free = client.post("/v1/generate", json={"rows": rows}).json()["answers"]
    assert free == model.generate(texts, ["sst2"] * 5) != classes


def test_beams_and_lengths(client, model):
    rows = [{"adapter_id": "text", "question": text} for text in QUESTIONS]
    own = client.post("/v1/answer", json={"rows": rows}).json()["answers"]
    short = client.post("/v1/answer", json={"rows": rows, "max_new_tokens": 2}).json()["answers"]
    assert short == [" ".join(text.split()[:2]) for text in own] != own
    assert client.post("/v1/answer", json={"rows": rows, "num_beams": 4}).json()["answers"] != own


def test_a_picture_comes_in_four_ways(serve, model, tmp_path):
    image = png(2)
    (tmp_path / "shapes" / "a").mkdir(parents=True)
    (tmp_path / "shapes" / "a" / "2.png").write_bytes(image)
    client = serve({"image_root": tmp_path / "shapes"})
    wanted = {"answers": model.answer([image], ["what shape"], ["dept"])}
    ways = [as_base64(image), f"data:image/png;base64,{as_base64(image)}", {"path": "a/2.png"}]
    for way in ways:
        assert client.post("/v1/answer", json={"rows": [{"question": "what shape", "image": way}]}).json() == wanted
    form = json.dumps({"rows": [{"question": "what shape", "image": {"upload": "mine"}}]})
    files = {"mine": ("anything.png", image)}
    assert client.post("/v1/answer", data={"request": form}, files=files).json() == wanted


def test_two_rows_share_an_upload(client, model):
    image, texts = png(3), ["what shape", "what color"]
    form = json.dumps({"rows": [{"question": text, "image": {"upload": "mine"}} for text in texts]})
    answers = client.post("/v1/answer", data={"request": form}, files={"mine": image}).json()["answers"]
    assert answers == model.answer([image] * 2, texts, ["dept"] * 2)


@pytest.mark.parametrize("path", ["answer", "caption", "classify", "generate", "chat/completions"])
def test_every_route_has_its_body_and_errors_in_the_schema(shared, path):
    schema = shared.get("/openapi.json").json()["paths"][f"/v1/{path}"]["post"]
    assert {"200", "400", "401", "404", "408", "413", "415", "422", "429", "500", "503", "504"} <= set(
        schema["responses"]
    )
    assert "properties" in schema["requestBody"]["content"]["application/json"]["schema"]
