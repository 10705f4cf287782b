"""Answers a question about an image, captions it, or labels rows of text; one JSON line each.

python scripts/predict.py --adapter runs/vqa --image photo.jpg --question "what color is the train?"
python scripts/predict.py --adapter runs/caption --image photos/ --output captions.jsonl
python scripts/predict.py --adapter runs/cola --rows sentences.jsonl        # {"sentence": "..."} a line
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from dept_vl import AdaptedModel
from dept_vl.vision import UnreadableImage


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapter", required=True, metavar="RUN", help="an adapter or run folder")
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--image", type=Path, help="an image file, or a folder of them")
    given.add_argument("--rows", type=Path, help="a JSONL file of rows of the adapter's text task")
    parser.add_argument("--question", help="asked of every image; left out, the images are captioned")
    parser.add_argument("--device", default="cpu", help="such as cpu or cuda (default: %(default)s)")
    parser.add_argument("--backbone", metavar="FOLDER", help="the language model, if its recorded name is not found")
    parser.add_argument("--vision", metavar="FOLDER", help="the CLIP, if its recorded name is not found")
    parser.add_argument("--output", type=Path, metavar="JSONL", help="a file for the lines (default: print them)")
    arguments = parser.parse_args(argv)
    try:
        write = arguments.output.write_text if arguments.output else sys.stdout.write
        write("".join(predict_rows(arguments) if arguments.rows else predict(arguments)))
    except (ValueError, OSError) as error:
        parser.exit(1, f"predict.py: error: {error}\n")


def predict(arguments: argparse.Namespace) -> list[str]:
    """A line per readable image. The others are named and counted on stderr; all of them unreadable is an error."""
    place, question = arguments.image, arguments.question
    files = sorted(each for each in place.glob("[!.]*") if each.is_file()) if place.is_dir() else [place]
    model = AdaptedModel.from_pretrained(arguments.adapter, arguments.device, arguments.backbone, arguments.vision)
    lines, asked = [], {} if question is None else {"question": question}
    for start in range(0, len(files), 32):
        pixels = {}
        for file in files[start : start + 32]:
            try:
                pixels[file] = model.preprocess(file)
            except UnreadableImage as error:
                print(f"predict.py: {error}", file=sys.stderr)
        images = list(pixels.values())
        texts = model.answer(images, [question] * len(images)) if asked else model.caption(images)
        for file, text in zip(pixels, texts, strict=True):
            lines.append(json.dumps({"image": str(file), **asked, "answer" if asked else "caption": text}) + "\n")
    if len(lines) != len(files):
        print(f"predict.py: {len(files) - len(lines)} of {len(files)} images could not be read", file=sys.stderr)
    if not lines:
        raise ValueError(f"{place}: wanted at least one readable image, given none of {len(files)} files")
    return lines


def predict_rows(arguments: argparse.Namespace) -> list[str]:
    """Each row with its "prediction": the class by its name, or the text where the task has no classes."""
    with arguments.rows.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file if line.strip()]
    model = AdaptedModel.from_pretrained(arguments.adapter, arguments.device, arguments.backbone, arguments.vision)
    task = model.adapters.find(model.adapters.answering).config["task"] or {}
    answers = model.classify(rows) if task.get("labels") else model.generate(rows)
    return [
        json.dumps({**row, "prediction": each}, ensure_ascii=False) + "\n"
        for row, each in zip(rows, answers, strict=True)
    ]


if __name__ == "__main__":
    main()
