"""Looks into a trained adapter: how many directions its prompt and its shift use, and how long their rows are.

python scripts/analyse.py rank runs/text_shapes/shapes-qnli            # a run folder or any adapter folder
python scripts/analyse.py rank runs/text_shapes/shapes-qnli --json     # every number, as one JSON object
"""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from dept_vl.cli import plain_errors
from dept_vl.plans.analysis import MatrixFacts, RankAnalysis, analyse_rank

SHOWN = 10  # lines of a table; --json has them all


def text(found: RankAnalysis) -> str:
    parts = {name: part for name, part in (("prompt", found.prompt), ("shift", found.shift)) if part is not None}
    blocks = [f"{found.folder}: {found.adapter}" + ("" if parts else ", neither a prompt nor a shift")]
    if parts:
        blocks += [_summary(parts), _by_place(parts)]
    if found.course:
        names = list(found.course[0])
        rows = [[f"{line[name]:g}" for name in names] for line in found.course]
        blocks.append(_table("while it trained", names, rows))
    return "\n\n".join(blocks)


def _summary(parts: dict[str, MatrixFacts]) -> str:
    facts = {
        "rows x d_model": lambda part: f"{part.rows} x {part.columns}",
        "numerical rank": lambda part: str(part.numerical_rank),
        "effective rank": lambda part: f"{part.effective_rank:.2f}",
        "common to all rows": lambda part: "-" if part.common_share is None else f"{100 * part.common_share:.1f} %",
    }
    lines = [f"{'':<20}{''.join(f'{name:>14}' for name in parts)}"]
    lines += [f"{name:<20}{''.join(f'{show(part):>14}' for part in parts.values())}" for name, show in facts.items()]
    return "\n".join(lines)


def _by_place(parts: dict[str, MatrixFacts]) -> str:
    columns = {f"{name} s. value": part.singular_values for name, part in parts.items()}
    columns |= {f"{name} row norm": part.row_norms for name, part in parts.items()}
    rows = [
        [str(place), *(f"{values[place]:.4g}" if place < len(values) else "" for values in columns.values())]
        for place in range(max(map(len, columns.values())))
    ]
    return _table("singular values, greatest first, and row norms by position", ["place", *columns], rows)


def _table(title: str, names: list[str], rows: list[list[str]]) -> str:
    """At most SHOWN rows, evenly spread, the first and the last among them."""
    last = len(rows) - 1
    shown = rows if last < SHOWN else [rows[round(k * last / (SHOWN - 1))] for k in range(SHOWN)]
    rest = "" if len(shown) == len(rows) else f" ({len(shown)} of {len(rows)} lines; --json has all)"
    return "\n".join([title + rest, *("".join(f"{word:>17}" for word in row) for row in [names, *shown])])


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="analyse.py", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    rank = commands.add_parser("rank", help="singular values, ranks and row norms, and the rank's course in training")
    rank.add_argument("folder", type=Path, help="a run folder or an adapter folder, ours or of PEFT or DePT's authors")
    rank.add_argument("--json", action="store_true", help="print one JSON object instead")
    args = parser.parse_args(argv)
    with plain_errors("analyse"):
        found = analyse_rank(args.folder)
        print(json.dumps(dataclasses.asdict(found), allow_nan=False, indent=2) if args.json else text(found))


if __name__ == "__main__":
    main()
