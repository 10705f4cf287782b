"""The command that opens the page: which runs, on which address."""

import argparse
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from dept_vl.saved.files import CONFIG
from dept_vl.serve.demo.runs import adapter_folders, load_runs, projection_only_beside
from dept_vl.threads import take_fitting_threads

QUICKSTART = Path("runs/vqa_shapes")
HOST, PORT = "127.0.0.1", 7860


class MissingGradio(ValueError):
    """The package that draws the page is not installed."""


def main(args: argparse.Namespace, say: Callable[[str], None]) -> None:
    """Serve the page until it is interrupted. args: of `parser`. Raises: MissingGradio, and what loading an adapter
    raises."""
    if find_spec("gradio") is None:
        raise MissingGradio("the page is drawn by gradio, which is not installed: pip install 'dept_vl[demo]'")
    folders = args.runs or [QUICKSTART]
    if not args.runs and not (QUICKSTART / CONFIG).is_file():
        raise ValueError(
            f"wanted a RUN to open, given none, and no {QUICKSTART} is there: `dept-vl train vqa` makes it"
        )
    found = {each.resolve(): each for folder in folders for each in adapter_folders(folder)}
    for folder in list(found.values()):
        if (other := projection_only_beside(folder)) is not None:
            found.setdefault(other.resolve(), other)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # gradio would tell its makers of each start
    loaded = load_runs(list(found.values()), args.device, args.backbone, args.vision, say=say)
    for engine in {each.engine for each in loaded}:  # torch counts the threads of each thread by itself
        engine.call(lambda model: take_fitting_threads(*model.frozen_models, device=args.device)).result()
    from dept_vl.serve.demo.page import build_page, open_page

    page = build_page(loaded)
    say(f"open {open_page(page, args.host, args.port, browser=args.open)} in a browser; Ctrl-C ends it")
    page.block_thread()


def parser(program: str, about: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(program, description=about)
    parser.add_argument(
        "runs", nargs="*", type=Path, metavar="RUN",
        help=f"adapter or run folders, or folders of them, shown side by side (default: {QUICKSTART}); a run beside "
        "them that trained the projection alone joins them",
    )  # fmt: skip
    parser.add_argument("--host", default=HOST, help="the address to listen on (default: %(default)s, this machine)")
    parser.add_argument("--port", type=int, default=PORT, help="(default: %(default)s)")
    parser.add_argument("--open", action="store_true", help="open the page in the browser of this machine, too")
    parser.add_argument("--device", default="cpu", help="such as cpu or cuda (default: %(default)s)")
    parser.add_argument("--backbone", metavar="FOLDER", help="the language model, if its recorded name is not found")
    parser.add_argument("--vision", metavar="FOLDER", help="the image tower, if its recorded name is not found")
    return parser
