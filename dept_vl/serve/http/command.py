"""The flags of `dept-vl serve`, and the process: load, listen, drain on SIGTERM."""

import argparse
import logging
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from dept_vl.serve.adapted import AdaptedModel
from dept_vl.serve.http.limits import Access, BadLimits, Limits
from dept_vl.threads import take_fitting_threads

LOOPBACK = ("127.0.0.1", "localhost")
TOKEN = "DEPT_VL_TOKEN"
_ABOUT = {
    "body": "bytes of a request's body",
    "bodies": "bytes of all bodies at once",
    "rows": "rows of a request",
    "pixels": "pixels of a picture",
    "text": "characters of a row",
    "new_tokens": "tokens of an answer that a request, or an adapter loaded by one, may ask for",
    "beams": "beams, likewise",
    "queue": "rows that wait",
    "seconds": "seconds for a body to come, and then for the answer",
    "adapters": "adapters loaded at once",
    "folder": "bytes of an adapter that a request loads",
}


class MissingServer(ValueError):
    """The packages of the extra `serve` are not installed."""


def parser(prog: str) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog, description="Serve adapters over HTTP; see docs/serving.md.")
    made.add_argument(
        "--adapter", action="append", required=True, metavar="NAME=FOLDER",
        help="an adapter or run folder; repeatable; the first is that of requests that name none",
    )  # fmt: skip
    made.add_argument("--host", default="127.0.0.1", help="where to listen (default: %(default)s, this machine alone)")
    made.add_argument("--port", type=int, default=8080, help="0: any that is free (default: %(default)s)")
    made.add_argument("--device", default="cpu", help="such as cpu or cuda (default: %(default)s)")
    made.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"), help="of the language model")
    made.add_argument("--backbone", metavar="FOLDER", help="the language model, if its recorded name is not found")
    made.add_argument("--vision", metavar="FOLDER", help="the tower, if its recorded name is not found")
    made.add_argument("--image-root", type=Path, metavar="FOLDER", help="below which requests may name pictures")
    made.add_argument("--adapter-root", type=Path, metavar="FOLDER", help="below which requests may load adapters")
    made.add_argument("--allow-hub", action="store_true", help="let requests load adapters from the hub")
    made.add_argument(
        "--token-file", type=Path, metavar="FILE", help=f"the bearer token that clients must show (or ${TOKEN})"
    )
    made.add_argument("--max-batch", type=int, default=64, help="rows of a batch (default: %(default)s)")
    made.add_argument(
        "--max-wait", type=float, default=2, help="milliseconds in which a batch may fill (default: %(default)s)"
    )
    for name, about in _ABOUT.items():
        default = getattr(Limits, name)
        made.add_argument(f"--max-{name.replace('_', '-')}", type=type(default), default=default, dest=name,
                          help=f"{about} (default: {default:,})")  # fmt: skip
    return made


def main(argv: Sequence[str] | None, prog: str) -> None:
    """Serve until SIGTERM or SIGINT; what was asked before is answered.

    Raises: ValueError, OSError for what the flags or the folders have wrong.
    """
    made = parser(prog)
    args = made.parse_args(argv)
    adapters = dict(_named(made, word) for word in args.adapter)
    if len(adapters) < len(args.adapter):
        made.error("--adapter: wanted names that differ, given one twice")
    try:
        limits = Limits(**{name: getattr(args, name) for name in _ABOUT})
    except BadLimits as error:
        made.error(f"--max-{error}")
    roots = {name: _root(made, name, getattr(args, name)) for name in ("image_root", "adapter_root")}
    hosts = LOOPBACK if args.host in LOOPBACK else None  # a page of another name must not reach it by a browser
    access = Access(_token(made, args.token_file), **roots, hub=args.allow_hub, hosts=hosts)
    try:
        import uvicorn

        from dept_vl.serve.http.app import build_app
    except ModuleNotFoundError as error:
        raise MissingServer(f"wanted the extra serve (pip install 'dept_vl[serve]'), given none: {error}") from None
    (first, folder), *others = adapters.items()
    model = AdaptedModel.from_pretrained(
        folder, args.device, args.backbone, args.vision, adapter_name=first, dtype=args.dtype
    )
    for name, folder in others:
        model.load_adapter(folder, name)
    take_fitting_threads(*model.frozen_models, device=args.device)
    app = build_app(model, limits, access, max_batch=args.max_batch, max_wait=args.max_wait / 1000)
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: None)  # uvicorn drains, and raises it once more when it is done
    config = uvicorn.Config(
        app,
        host=args.host,
        port=args.port,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(limits.seconds) + 5,
    )
    if hosts is None and access.token is None:
        message = "no token is set: whoever reaches %s may ask (--token-file sets one)"
        logging.getLogger("uvicorn.error").warning(message, args.host)
    uvicorn.Server(config).run()


def _named(made: argparse.ArgumentParser, word: str) -> tuple[str, Path]:
    name, equals, folder = word.partition("=")
    if not (name and equals and folder):
        made.error(f"--adapter: wanted NAME=FOLDER, given {word!r}")
    return name, Path(folder)


def _root(made: argparse.ArgumentParser, name: str, folder: Path | None) -> Path | None:
    if folder is not None and not folder.is_dir():
        made.error(f"--{name.replace('_', '-')}: wanted a folder, given {folder}")
    return folder


def _token(made: argparse.ArgumentParser, file: Path | None) -> str | None:
    token = os.environ.get(TOKEN) if file is None else file.read_text(encoding="utf-8")
    if token is not None and not (token := token.strip()):
        made.error(f"--token-file: wanted a token, given an empty one (or an empty ${TOKEN})")
    return token
