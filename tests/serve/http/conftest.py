"""An application over tiny models, and a client of it in the same process."""

import base64
import io
from contextlib import ExitStack

import pytest

from tests.tiny_models import paint

pytest.importorskip("fastapi", reason="skipped: the extra serve is not installed")
pytest.importorskip("prometheus_client", reason="skipped: the extra serve is not installed")

SST2 = {
    "name": "sst2", "protocol": "as_published", "template": "sentence: {sentence}",
    "labels": {"yes": "true", "no": "false"},
}  # fmt: skip
CAPTION = {"name": "caption", "template": "caption:", "protocol": None}


def png(seed: int = 0) -> bytes:
    file = io.BytesIO()
    paint(seed).save(file, "png")
    return file.getvalue()


def as_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.fixture
def model(save, load):
    """Five adapters: two of pictures and questions, one of captions, one of questions alone, one with labels."""
    model = load(save("dept"), adapter_name="dept")
    model.load_adapter(save("pt", seed=1), adapter_name="pt")
    model.load_adapter(save("dpt", seed=2, **CAPTION), adapter_name="caption")
    model.load_adapter(save("dept", "text", seed=3, visual=False), adapter_name="text")
    model.load_adapter(save("pt", "sst2", seed=4, visual=False, **SST2), adapter_name="sst2")
    return model


@pytest.fixture
def serve(model):
    """A client of an application of these limits and this access; errors of the server reach the client as they would
    over a socket."""
    from starlette.testclient import TestClient

    from dept_vl.serve.http.app import build_app
    from dept_vl.serve.http.limits import Access, Limits

    with ExitStack() as opened:

        def serve(access=None, engine=None, **limits):
            app = build_app(model, Limits(**limits), Access(**access or {}), **engine or {})
            return opened.enter_context(TestClient(app, raise_server_exceptions=False))

        yield serve


@pytest.fixture
def client(serve):
    return serve()
