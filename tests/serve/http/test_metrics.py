"""What Prometheus reads, and what a client that has gone leaves behind."""

import asyncio
import json
import threading

import pytest

from tests.serve.http.conftest import as_base64, ask_by_asgi, png

ROW = {"adapter_id": "text", "question": "what shape"}


@pytest.fixture
def value(client):
    """A metric by its name and labels, as /metrics says it."""
    from prometheus_client.parser import text_string_to_metric_families

    def value(name, **labels):
        families = text_string_to_metric_families(client.get("/metrics").text)
        found = [each for family in families for each in family.samples if each.name == name and each.labels == labels]
        return found[0].value if found else 0

    return value


def test_requests_rows_batches_and_times_are_counted(client, value):
    assert client.post("/v1/answer", json={"rows": [ROW] * 3}).status_code == 200
    seen = {"question": "what shape", "image": as_base64(png())}
    assert client.post("/v1/answer", json={"rows": [ROW, seen]}).status_code == 200
    client.post("/v1/answer", json={"rows": []})
    client.get("/made/up/1")
    client.get("/made/up/2")
    assert value("dept_vl_requests_total", path="/v1/answer", status="200") == 2
    assert value("dept_vl_requests_total", path="/v1/answer", status="422") == 1
    assert value("dept_vl_requests_total", path="other", status="404") == 2, "made-up addresses are one"
    assert value("dept_vl_errors_total", status="404") == 2
    assert value("dept_vl_rows_total", kind="answer") == 5
    assert value("dept_vl_batch_rows_count") == 2 and value("dept_vl_batch_rows_sum") == 5
    assert value("dept_vl_batch_adapters_sum") == 3
    assert value("dept_vl_queue_seconds_count") == 5 and 0 < value("dept_vl_queue_seconds_sum") < 10
    assert value("dept_vl_model_seconds_count") == 2 and 0 < value("dept_vl_model_seconds_sum") < 10
    assert value("dept_vl_adapters") == 5 and value("dept_vl_waiting_rows") == 0
    assert value("process_resident_memory_bytes") > 2**20


def test_texts_that_are_not_read_whole_are_counted(client, value):
    rows = [{"adapter_id": "text", "question": text} for text in ("what " * 20, "the zebra", "what shape")]
    assert client.post("/v1/answer", json={"rows": rows}).status_code == 200
    assert value("dept_vl_texts_total", how="cut") == value("dept_vl_texts_total", how="altered") == 1


def test_the_rows_of_a_client_that_has_gone_leave_the_queue(client, value, model, monkeypatch):
    """By ASGI itself: the connection closes while the row waits."""
    app, engine, over = client.app, client.app.state.served.engine, threading.Event()
    engine.call(lambda model: over.wait(20))
    body = json.dumps({"rows": [ROW] * 4}).encode()
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive():
        if messages:
            return messages.pop()
        while engine.waiting < 4:
            await asyncio.sleep(0.01)
        return {"type": "http.disconnect"}

    try:
        assert ask_by_asgi(app, receive)[0] == 499
        assert engine.waiting == 0
    finally:
        over.set()
    assert value("dept_vl_requests_total", path="/v1/answer", status="499") == 1
    assert client.post("/v1/answer", json={"rows": [ROW]}).status_code == 200
    assert value("dept_vl_batch_rows_sum") == 1, "rows of a client that had gone were answered"


def test_a_server_that_closes_is_not_ready(client):
    assert client.get("/readyz").json() == {"status": "ready"}
    client.app.state.served.engine.close()
    assert client.get("/readyz").status_code == 503 and client.get("/healthz").status_code == 200
    refused = client.post("/v1/answer", json={"rows": [ROW]})
    assert refused.status_code == 503 and "shutting down" in refused.text
