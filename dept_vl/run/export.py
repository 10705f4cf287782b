"""Write a saved adapter in the form that another program takes; `dept-vl export` has the flags."""

import argparse
import json
from collections.abc import Callable
from typing import Any

from dept_vl.run.predictions import find_images, find_rows
from dept_vl.saved import export_peft
from dept_vl.saved.graphs import export_graphs
from dept_vl.serve import AdaptedModel
from dept_vl.serve.named import DEFAULT_NAME
from dept_vl.serve.plugins.prompt_embeds import prompt_embeds, write_prompt_embeds
from dept_vl.untrusted.whole_files import write_whole

EMBEDS = "prompt-embeds"
REQUESTS = "requests.jsonl"


def export(given: argparse.Namespace, say: Callable[[str], None]) -> None:
    """Write the export; `say` where it lies. Raises: ValueError, OSError for what cannot be exported or written."""
    if given.format == EMBEDS:
        say(f"{_export_embeds(given)} requests, listed in {given.output / REQUESTS}")
        return
    if given.format == "peft":
        export_peft(given.adapter, given.output)
    else:
        model = AdaptedModel.from_pretrained(given.adapter, "cpu", given.backbone, given.vision)
        export_graphs(model.adapters.find(DEFAULT_NAME), model.backbone, given.output, given.format)
        model.tokenizer.save_pretrained(given.output / "tokenizer")
    for path in sorted(given.output.iterdir()):
        say(f"{path} ({path.stat().st_size:,} bytes)" if path.is_file() else str(path))


def _export_embeds(given: argparse.Namespace) -> int:
    """A file a row, and a line a row with its file's name; how many."""
    rows: list[dict[str, Any]]
    if given.rows:
        rows = find_rows(given.adapter, given.rows)
    else:
        question = {} if given.question is None else {"question": given.question}
        rows = [{"image": str(each), **question} for each in find_images(given.adapter, given.image, given.question)]
    model = AdaptedModel.from_pretrained(given.adapter, "cpu", given.backbone, given.vision, dtype=given.dtype)
    if given.rows:
        found = prompt_embeds(model, rows)
    else:
        asked = None if given.question is None else [given.question] * len(rows)
        found = prompt_embeds(model, asked, [row["image"] for row in rows])
    lines = []
    for place, (row, embeds) in enumerate(zip(rows, found, strict=True)):
        name = f"{place:06}.pt"
        write_prompt_embeds(given.output / name, embeds)
        lines.append(json.dumps({**row, "prompt_embeds": name, "tokens": len(embeds)}, ensure_ascii=False))
    write_whole(given.output / REQUESTS, ("\n".join(lines) + "\n").encode("utf-8"))
    return len(lines)
