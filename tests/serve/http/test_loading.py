"""Adapters come and go while the server answers, from one folder or the hub; nothing else is read."""

import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dept_vl.adapters import build_adapter
from dept_vl.backbones import load_backbone
from dept_vl.saved import ModelFacts, save_adapter
from dept_vl.serve import engine
from dept_vl.serve.http import hub
from tests.serve.http.conftest import as_base64, png
from tests.tiny_models import write_tiny_t5
from tests.tiny_tunings import attached

ROWS = {"rows": [{"adapter_id": "new", "question": "what shape"}]}


@pytest.fixture
def root(save, tmp_path):
    """A folder with an adapter, and beside it one that must not be read."""
    root = tmp_path / "root"
    shutil.copytree(save("pt", "inner", seed=7, visual=False), root / "a" / "new")
    save("pt", "outside", seed=8, visual=False)
    return root


@pytest.fixture
def client(serve, root):
    return serve({"adapter_root": root})


def test_an_adapter_is_loaded_listed_asked_and_removed(client, model):
    assert client.post("/v1/answer", json=ROWS).status_code == 404
    loaded = client.post("/v1/adapters", json={"name": "new", "folder": "a/new"})
    assert loaded.status_code == 201
    assert loaded.json() | {"created": 0} == {
        "id": "new", "object": "model", "created": 0, "owned_by": "dept_vl", "task": "vqa", "reads_images": False,
        "default": False,
    }  # fmt: skip
    listed = client.get("/v1/models").json()
    assert listed["object"] == "list" and loaded.json() in listed["data"]
    assert [each["id"] for each in listed["data"] if each["default"]] == ["dept"]
    assert client.post("/v1/answer", json=ROWS).json()["answers"] == model.answer(None, ["what shape"], ["new"])
    assert client.delete("/v1/adapters/new").json() == {"id": "new", "object": "model", "deleted": True}
    assert client.post("/v1/answer", json=ROWS).status_code == 404
    assert client.delete("/v1/adapters/new").status_code == 404


def test_adapters_go_only_where_they_may_come(serve):
    client = serve()
    refused = client.delete("/v1/adapters/pt")
    assert refused.status_code == 403 and "--adapter-root or --allow-hub" in refused.text
    assert "pt" in [each["id"] for each in client.get("/v1/models").json()["data"]]


def test_a_template_of_another_task_is_refused_when_it_loads(client, root, save):
    shutil.copytree(save("pt", "strange", seed=9, visual=False, template="what {colour}"), root / "strange")
    refused = client.post("/v1/adapters", json={"name": "strange", "folder": "strange"})
    assert refused.status_code == 422 and "colour" in refused.text


REFUSED = {
    "a taken name": ({"name": "pt", "folder": "a/new"}, 409, "'pt': delete that adapter first"),
    "an impossible name": ({"name": "a/b", "folder": "a/new"}, 422, "a name that a folder can have, given 'a/b'"),
    "neither": ({"name": "new"}, 422, "either folder or repo"),
    "both": ({"name": "new", "folder": "a/new", "repo": "a/b"}, 422, "either folder or repo"),
    "no such folder": ({"name": "new", "folder": "a/none"}, 422, "a/none: wanted a folder below the root"),
    "a step up": ({"name": "new", "folder": "../outside"}, 422, "../outside: wanted the path of a folder below"),
    "an absolute path": ({"name": "new", "folder": "/etc"}, 422, "etc: wanted the path of a folder below"),
    "a link out": ({"name": "new", "folder": "link"}, 422, "link: wanted a folder below the root"),
    "a file that is a link out": ({"name": "new", "folder": "files"}, 422, "files: wanted a folder whose files lie"),
    "a circle of links": ({"name": "new", "folder": "circle"}, 422, "circle: wanted a folder"),
    "a folder without weights": ({"name": "new", "folder": "a"}, 422, "adapter_model.safetensors"),
    "a pickle": ({"name": "new", "folder": "pickle"}, 422, "adapter_model.safetensors, given one without"),
    "broken weights": ({"name": "new", "folder": "broken"}, 422, "adapter_model.safetensors: wanted"),
    "a hub that is not allowed": ({"name": "new", "repo": "a/b"}, 403, "--allow-hub"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_loaded_says_why_without_a_path(case, client, root, tmp_path):
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "circle").symlink_to(root / "circle")
    (root / "files").mkdir()
    for file in (tmp_path / "outside").iterdir():
        (root / "files" / file.name).symlink_to(file)
    for name in ("pickle", "broken"):
        shutil.copytree(root / "a" / "new", root / name)
    (root / "pickle" / "adapter_model.safetensors").rename(root / "pickle" / "adapter_model.bin")
    (root / "broken" / "adapter_model.safetensors").write_bytes(b"{}")
    body, status, message = REFUSED[case]
    refused = client.post("/v1/adapters", json=body)
    assert refused.status_code == status and message in refused.json()["error"]["message"], refused.text
    assert str(tmp_path) not in refused.text and "/root" not in refused.text
    assert "new" not in {each["id"] for each in client.get("/v1/models").json()["data"]}


def test_without_a_root_nothing_is_loaded(serve):
    refused = serve().post("/v1/adapters", json={"name": "new", "folder": "a/new"})
    assert refused.status_code == 403 and "--adapter-root" in refused.text


def test_room_and_sizes(serve, root, save):
    for limits, status, message in (
        ({"adapters": 5}, 409, "delete one first"),
        ({"new_tokens": 5}, 422, "task.max_target_length: wanted at most 5, given 6"),
        ({"folder": 9}, 422, "a folder of at most 9 bytes"),
    ):
        client = serve({"adapter_root": root}, **limits)
        refused = client.post("/v1/adapters", json={"name": "new", "folder": "a/new"})
        assert refused.status_code == status and message in refused.text


def test_no_adapter_names_a_tower_that_is_then_read(save, load, serve, tmp_path, monkeypatch):
    """A server of text alone reads no files of a tower, whatever an adapter's config names."""
    from starlette.testclient import TestClient

    from dept_vl.serve.http.app import build_app
    from dept_vl.serve.http.limits import Access

    monkeypatch.setattr("dept_vl.serve.fitting._load_tower", lambda *_: pytest.fail("it was read"))
    seeing = save("pt", "seeing")
    app = build_app(load(save("dept", visual=False), adapter_name="text"), access=Access(adapter_root=tmp_path))
    with TestClient(app) as client:
        refused = client.post("/v1/adapters", json={"name": "new", "folder": seeing.name})
    assert refused.status_code == 422 and "the server has no image tower" in refused.text


def test_an_image_path_stays_below_its_root(serve, tmp_path):
    root = tmp_path / "images"
    (root / "folder").mkdir(parents=True)
    (root / "a.png").write_bytes(png())
    (tmp_path / "secret.png").write_bytes(png())
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "up").symlink_to(tmp_path)
    client = serve({"image_root": root})

    def ask(path):
        return client.post("/v1/answer", json={"rows": [{"question": "what shape", "image": {"path": path}}]})

    assert ask("a.png").status_code == ask("./a.png").status_code == 200
    outside = ("../secret.png", str(tmp_path / "secret.png"), "link.png", "up/secret.png")
    for path in (*outside, "folder", "none", ".", "a\0"):
        refused = ask(path)
        assert refused.status_code == 422 and str(tmp_path) not in refused.text.replace(path, ""), refused.text


def test_the_hub_is_asked_for_three_files_of_a_size(serve, root, monkeypatch):
    asked, fetched = [], []
    sizes = {"adapter_config.json": 10, "adapter_model.safetensors": 100, "pytorch_model.bin": 10**12}

    class Api:
        def __init__(self, token):
            assert token is False, "the server's own token is not a client's to use"

        def model_info(self, repo, revision=None, files_metadata=False):
            siblings = [SimpleNamespace(rfilename=name, size=size) for name, size in sizes.items()]
            return SimpleNamespace(sha="f" * 40, siblings=siblings)

    def download(repo, local_dir, **arguments):
        asked.append((repo, arguments))
        fetched.append(local_dir)
        shutil.copytree(root / "a" / "new", local_dir, dirs_exist_ok=True)

    monkeypatch.setattr(hub, "HfApi", Api)
    monkeypatch.setattr(hub, "snapshot_download", download)
    client = serve({"hub": True})
    assert client.post("/v1/adapters", json={"name": "new", "repo": "a/b", "revision": "main"}).status_code == 201
    files = ["adapter_config.json", "adapter_model.safetensors", "README.md"]
    assert asked == [("a/b", {"revision": "f" * 40, "allow_patterns": files, "token": False})]
    sizes["adapter_model.safetensors"] = 10**10
    refused = client.post("/v1/adapters", json={"name": "other", "repo": "a/b"})
    assert refused.status_code == 422 and "at most 1,073,741,824 bytes" in refused.text and len(asked) == 1
    assert not Path(fetched[0]).exists(), "what clients have fetched fills no disk"
    assert client.post("/v1/answer", json=ROWS).status_code == 200


@pytest.mark.parametrize("error", [OSError("/home/me/.cache: cannot"), RuntimeError("a client's own: /home/me")])
def test_a_repository_that_is_none_is_refused(error, serve, monkeypatch):
    def offline(*_, **__):
        raise error

    monkeypatch.setattr(hub.HfApi, "model_info", offline)
    refused = serve({"hub": True}).post("/v1/adapters", json={"name": "new", "repo": "a/b"})
    assert refused.status_code == 422 and "no such repository" in refused.text and "/home" not in refused.text


def test_answers_go_on_while_an_adapter_is_read(client, monkeypatch):
    """A load that takes long holds up nothing: rows are answered before it is over."""
    begun, over, read = threading.Event(), threading.Event(), engine.read_any
    monkeypatch.setattr(engine, "read_any", lambda folder: (begun.set(), over.wait(20), read(folder))[-1])
    loads = [
        threading.Thread(target=client.post, args=("/v1/adapters",), kwargs={"json": {"name": name, "folder": "a/new"}})
        for name in "abcdef"
    ]
    for load in loads:
        load.start()
    assert begun.wait(20)
    row = {"question": "what shape", "image": as_base64(png())}
    assert client.post("/v1/answer", json={"rows": [row]}).status_code == 200
    assert not over.is_set()
    over.set()
    for load in loads:
        load.join(20)
    assert {"a", "b", "c", "d", "e", "f"} <= {each["id"] for each in client.get("/v1/models").json()["data"]}


def test_weights_that_do_not_fit_inside_the_model_are_refused(serve, model, backbone, tmp_path):
    """They show when they are attached, behind all checks of the folder; the others answer as before."""
    deeper = load_backbone(str(write_tiny_t5(tmp_path / "deeper", layers=2)))
    parts = {"adapter": build_adapter("none", torch.zeros(0, 32), {}), "inside": attached("bitfit", deeper)}
    save_adapter(tmp_path / "root" / "new", parts, backbone_identity=backbone.identity(), card=ModelFacts("new"))
    client = serve({"adapter_root": tmp_path / "root"})
    asked = {"rows": [{"adapter_id": "text", "question": "what shape"}]}
    before = client.post("/v1/answer", json=asked).json()
    refused = client.post("/v1/adapters", json={"name": "new", "folder": "new"})
    assert refused.status_code == 422 and "do not fit this frozen model" in refused.text, refused.text
    assert client.post("/v1/answer", json=asked).json() == before and backbone.attached is None
