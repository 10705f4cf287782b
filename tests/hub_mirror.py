"""A mirror of the hub on this machine: a folder behind the part of its HTTP interface that the real clients ask.

root/models/OWNER/NAME/...      root/datasets/OWNER/NAME/...
"""

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextlib.contextmanager
def mirror(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Its address, for HF_ENDPOINT, and the paths that are asked for."""
    asked: list[str] = []
    handler = type("Handler", (_Handler,), {"root": root, "asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    root: Path
    asked: list[str]

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.asked.append(url.path)
        parts = [unquote(each) for each in url.path.strip("/").split("/")]
        if parts[0] == "api" and parts[1] in ("models", "datasets"):
            self._about("/".join(parts[1:4]), parts[4:], parse_qs(url.query))
        elif "resolve" in parts:
            kind, parts = ("datasets", parts[1:]) if parts[0] == "datasets" else ("models", parts)
            self._file(self.root / kind / "/".join(parts[:2]), "/".join(parts[4:]))
        else:
            self._refuse("RepoNotFound")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        given = json.loads(body) if body.startswith("{") else parse_qs(body)
        parts = [unquote(each) for each in urlsplit(self.path).path.strip("/").split("/")]
        repository = self.root / "/".join(parts[1:4])
        self._json([_entry(repository, repository / each) for each in given["paths"] if (repository / each).exists()])

    def _about(self, name: str, rest: list[str], query: dict[str, list[str]]) -> None:
        repository = self.root / name
        if not repository.is_dir():
            return self._refuse("RepoNotFound")
        if rest[:1] == ["tree"]:
            folder = repository / "/".join(rest[2:])
            if not folder.is_dir():
                return self._refuse("EntryNotFound")
            deep = query.get("recursive", ["false"])[0].lower() in ("true", "1")
            return self._json([_entry(repository, path) for path in sorted(folder.glob("**/*" if deep else "*"))])
        files = [path.relative_to(repository).as_posix() for path in sorted(repository.rglob("*")) if path.is_file()]
        facts = {"private": False, "gated": False, "disabled": False, "downloads": 0, "likes": 0, "tags": []}
        siblings = [{"rfilename": file} for file in files]
        self._json({"id": name.partition("/")[2], "sha": COMMIT, "siblings": siblings, **facts})

    def _file(self, repository: Path, name: str) -> None:
        path = repository / name
        if not path.is_file():
            return self._refuse("EntryNotFound" if repository.is_dir() else "RepoNotFound")
        data = path.read_bytes()
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self._end(data)

    def _json(self, value: object) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self._end(json.dumps(value).encode())

    def _refuse(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self._end(b"{}")

    def _end(self, data: bytes) -> None:
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


def _entry(repository: Path, path: Path) -> dict[str, object]:
    name = path.relative_to(repository).as_posix()
    oid = hashlib.sha1(name.encode()).hexdigest()
    if path.is_dir():
        return {"type": "directory", "path": name, "oid": oid, "size": 0}
    return {"type": "file", "path": name, "oid": oid, "size": path.stat().st_size}
