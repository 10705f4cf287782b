"""What the server's load is made of: adapters that answer differently, pictures with questions, the process itself."""

import base64
import contextlib
import json
import os
import random
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

import torch

from benchmarks.serving_clients import request
from dept_vl.embedded.shapes import write_shapes
from dept_vl.saved import SavedAdapter, read_any, write_adapter
from dept_vl.serve import AdaptedModel

PICTURES, QUESTIONS = 32, 2
NOISE = 0.01  # beside trained weights: enough that some answers differ, so little that answers stay as short as trained
REPOSITORY = Path(__file__).resolve().parent.parent


def write_adapters(run: Path, root: Path, number: int, *, pictures: bool = True) -> list[str]:
    """Folders below `root` of the run's adapter with noise on its weights; their names. pictures: or without its
    projection, as adapters of questions alone."""
    saved, generator = read_any(run), torch.Generator().manual_seed(0)
    own = {name: value.clone() for name, value in saved.adapter.state_dict().items()}
    names = [f"{'a' if pictures else 't'}{place:04}" for place in range(number)]
    if not pictures:
        config = {**saved.config, "vision": None, "parts": {"adapter": saved.config["parts"]["adapter"]}}
        saved = SavedAdapter({"adapter": saved.adapter}, config, saved.card)
    for name in names:
        noisy = {
            key: value + NOISE * torch.randn(value.shape, generator=generator) if value.is_floating_point() else value
            for key, value in own.items()
        }
        saved.adapter.load_state_dict(noisy)
        write_adapter(root / name, SavedAdapter(saved.parts, saved.config, saved.card))
    return names


class Rows:
    """Pictures and questions of Shapes, as the requests that ask them of an adapter."""

    def __init__(self, folder: Path) -> None:
        root = write_shapes(folder, sizes={"train": 1, "val": 1, "test": PICTURES}, questions_per_image=QUESTIONS)
        asked = json.loads((root / "v2_OpenEnded_mscoco_val2014_questions.json").read_bytes())["questions"]
        files = {int(file.stem[-12:]): file for file in (root / "images").glob("COCO_val2014_*.jpg")}
        self.rows = [(files[each["image_id"]].read_bytes(), each["question"]) for each in asked]
        self._texts = [
            json.dumps({"question": question, "image": base64.b64encode(picture).decode()})
            for picture, question in self.rows
        ]

    def request(self, adapter: str, place: int, *, picture: bool = True) -> bytes:
        text = self._texts[place] if picture else json.dumps({"question": self.rows[place][1]})
        row = f'{{"adapter_id":"{adapter}",{text[1:]}'
        return request("/v1/answer", f'{{"rows":[{row}]}}'.encode())

    def answers(self, run: Path, root: Path, adapters: Sequence[str]) -> dict[tuple[str, int], bytes]:
        """What AdaptedModel alone answers: by adapter and row, the body that the server must give."""
        model = AdaptedModel.from_pretrained(run, adapter_name="base")
        pixels = [model.preprocess(picture) for picture, _ in self.rows]
        questions = [question for _, question in self.rows]
        wanted = {}
        for name in adapters:
            model.load_adapter(root / name, name)
            for place, text in enumerate(model.answer(pixels, questions, [name] * len(questions))):
                body = json.dumps({"answers": [text]}, ensure_ascii=False, separators=(",", ":"))
                wanted[name, place] = body.encode()
        return wanted


class Zipf:
    """Names drawn with probability 1 / rank."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names, self.weights = names, list(accumulate(1 / rank for rank in range(1, len(names) + 1)))

    def draw(self, chosen: random.Random) -> str:
        return chosen.choices(self.names, cum_weights=self.weights)[0]


@contextlib.contextmanager
def server(run: Path, root: Path, *flags: str) -> Iterator[int]:
    """`dept-vl serve` of the run's adapter, with `root` to load others from, in a process of its own; its port."""
    command = [sys.executable, "-m", "dept_vl", "serve", "--adapter", f"base={run}", "--adapter-root", str(root)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        [*command, "--port", "0", *flags], env=environment, stderr=subprocess.PIPE, encoding="utf-8"
    ) as running:
        said: list[str] = []
        for line in running.stderr:
            said.append(line)
            if found := re.search(r"running on http://[^:]+:(\d+)", line):
                break
        else:
            raise RuntimeError(f"the server did not start: {''.join(said)}")
        rest = threading.Thread(target=lambda: said.extend(running.stderr), daemon=True)
        rest.start()
        try:
            yield int(found[1])
        finally:
            running.terminate()
            if running.wait(120):
                raise RuntimeError(f"the server ended with {running.returncode}: {''.join(said)[-2000:]}")
