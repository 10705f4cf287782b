"""Write a saved adapter in the form that PEFT, ONNX, torch.export, vLLM or SGLang takes.

peft: a folder for peft.PeftModel.from_pretrained. onnx, torch-export: the folded adapter and its frozen encoder-decoder
as two graphs. prompt-embeds: what a decoder-only model reads of each request, a tensor file a row, for vLLM and SGLang.
"""

import argparse
import functools
from collections.abc import Sequence
from pathlib import Path

from dept_vl.cli.output import clean_stdout, plain_errors, program

EMBEDS = "prompt-embeds"


def parser() -> argparse.ArgumentParser:
    """The flags of `dept-vl export`."""
    made = argparse.ArgumentParser(
        program("export"), description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--adapter", required=True, metavar="RUN", help="an adapter or run folder")
    made.add_argument("--format", required=True, choices=("peft", "onnx", "torch-export", EMBEDS))
    made.add_argument("--output", required=True, type=Path, metavar="FOLDER", help="a folder, made if there is none")
    made.add_argument("--backbone", metavar="FOLDER", help="the language model, if its recorded name is not found")
    made.add_argument("--vision", metavar="FOLDER", help="the tower, if its recorded name is not found")
    made.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"), help=f"of {EMBEDS}")
    asked = made.add_mutually_exclusive_group()
    asked.add_argument("--rows", type=Path, help=f"{EMBEDS} of rows of the adapter's text task")
    asked.add_argument("--image", type=Path, help=f"{EMBEDS} of an image file, or of a folder of them")
    made.add_argument("--question", help="asked of every image; left out, they are captioned")
    return made


def main(argv: Sequence[str] | None = None) -> None:
    """Write the export and print where it lies. Raises: SystemExit."""
    flags = parser()
    given = flags.parse_args(argv)
    if (given.format == EMBEDS) != bool(given.rows or given.image):
        flags.error(f"--rows or --image: wanted one of them with --format {EMBEDS}, and with no other")
    from dept_vl.run.export import export

    with clean_stdout() as stdout, plain_errors("export"):
        export(given, functools.partial(print, file=stdout))
