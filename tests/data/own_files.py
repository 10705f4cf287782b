"""Pictures and tables as a user may bring them: the same few rows in every form."""

import base64
import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
from PIL import Image

COLOURS = ("red", "green", "blue", "yellow", "cyan", "magenta", "black", "white", "gray", "orange")
ROWS = tuple(
    {
        "image": f"images/{number}.png",
        "question": f"Which colour is number {number}?",
        "answers": [colour, f"{colour}ish"],
    }
    for number, colour in enumerate(COLOURS[:4])
)


def picture(number: int) -> bytes:
    """A PNG of one colour; another picture for each number below 10."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), COLOURS[number]).save(buffer, "PNG")
    return buffer.getvalue()


def write_pictures(folder: Path, count: int = 4) -> Path:
    """images/0.png and so on below the folder."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / "images" / f"{number}.png").write_bytes(picture(number))
    return folder


def base64_of(row: Mapping[str, Any]) -> str:
    return base64.b64encode(bytes_of(row)).decode()


def bytes_of(row: Mapping[str, Any]) -> bytes:
    return picture(int(Path(row["image"]).stem))


def write_delimited(path: Path, rows: Sequence[Mapping[str, Any]], mark: str = ",") -> Path:
    """Lists as JSON, in the quotation marks of CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=mark)
        writer.writeheader()
        for row in rows:
            writer.writerow({name: json.dumps(each) if isinstance(each, list) else each for name, each in row.items()})
    return path


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_json(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
    return path
