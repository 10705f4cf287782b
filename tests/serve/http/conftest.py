"""An application over tiny models, and a client of it in the same process."""

import asyncio
import base64
import io
import time
from contextlib import ExitStack, contextmanager

import pytest

from dept_vl.serve import AdaptedModel
from tests.serve.conftest import saver
from tests.tiny_models import paint

pytest.importorskip("fastapi", reason="skipped: the extra serve is not installed")
pytest.importorskip("prometheus_client", reason="skipped: the extra serve is not installed")

SST2 = {
    "name": "sst2", "protocol": "as_published", "template": "what {sentence}",
    "labels": {"yes": "true", "no": "false"},
}  # fmt: skip
CAPTION = {"name": "caption", "template": "caption:", "protocol": None}


def png(seed: int = 0) -> bytes:
    file = io.BytesIO()
    paint(seed).save(file, "png")
    return file.getvalue()


def as_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def ask_by_asgi(app, receive, path="/v1/answer"):
    """Ask without a client, whose sending cannot pause: `receive` gives the messages of the body and of the end of the
    connection. The status and body of the answer, which a client that has gone does not see."""
    sent = []

    async def send(message):
        sent.append(message)

    headers = [(b"content-type", b"application/json"), (b"host", b"testserver")]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": headers,
        "client": ("127.0.0.1", 1), "server": ("testserver", 80), "state": {},
    }  # fmt: skip
    asyncio.run(asyncio.wait_for(app(scope, receive, send), 20))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


@pytest.fixture(scope="session")
def folders(tmp_path_factory, backbone, clip):
    """Five adapters: two of pictures and questions, one of captions, one of questions alone, one with labels."""
    save = saver(tmp_path_factory.mktemp("adapters"), backbone, clip)
    return {
        "dept": save("dept"),
        "pt": save("pt", seed=1),
        "caption": save("dpt", seed=2, **CAPTION),
        "text": save("dept", "text", seed=3, visual=False),
        "sst2": save("pt", "sst2", seed=10, visual=False, **SST2),
    }


@pytest.fixture
def model(folders, t5_folder):
    return load_all(folders, t5_folder)


def load_all(folders, t5_folder):
    (first, folder), *others = folders.items()
    model = AdaptedModel.from_pretrained(folder, backbone=t5_folder, adapter_name=first)
    for name, folder in others:
        model.load_adapter(folder, name)
    return model


def until(condition):
    """Wait until something is so."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "waited 20 seconds in vain"
        time.sleep(0.01)


@contextmanager
def serving(model):
    """What the fixture `serve` gives."""
    from starlette.testclient import TestClient

    from dept_vl.serve.http.app import build_app
    from dept_vl.serve.http.limits import Access, Limits

    with ExitStack() as opened:

        def serve(access=None, engine=None, **limits):
            app = build_app(model, Limits(**limits), Access(**access or {}), **engine or {})
            return opened.enter_context(TestClient(app, raise_server_exceptions=False))

        yield serve


@pytest.fixture
def serve(model):
    """A client of an application of these limits and this access; errors of the server reach the client as they would
    over a socket."""
    with serving(model) as serve:
        yield serve


@pytest.fixture
def client(serve):
    return serve()


@pytest.fixture(scope="module")
def shared(folders, t5_folder):
    """A client for tests that leave the server as it was."""
    with serving(load_all(folders, t5_folder)) as serve:
        yield serve()
