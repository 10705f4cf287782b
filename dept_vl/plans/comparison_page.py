"""A Markdown and an HTML page: the methods of several plans side by side, with pictures and PEFT's records."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dept_vl.plans.claims import CONTRADICTED, SUPPORTED
from dept_vl.plans.comparison import Method, compare_methods, plan_command
from dept_vl.plans.figures import file_name, write_figures
from dept_vl.plans.page import data_uri, write_pages
from dept_vl.plans.peft_records import archive, peft_records, unpacked
from dept_vl.plans.schema import Plot
from dept_vl.plans.table import Table
from dept_vl.untrusted.whole_files import write_files_whole

PAGE = "comparison"
_PARETO = (
    Plot(
        kind="scatter", name="pareto_weights", title="Score against trained weights; the line joins what nothing beats",
        x="weights", x_label="trained weights, without the projection's", log=10, y=("score",),
        y_labels=("test score (x 100), mean over tasks",), together=True, front=True,
    ),
    Plot(
        kind="scatter", name="pareto_seconds", title="Score against seconds of training",
        x="train_seconds", x_label="seconds of training", y=("score",),
        y_labels=("test score (x 100), mean over tasks",), together=True, front=True,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Column:
    """A column of the table: its head, what it is, and the cell's text with the number that it is sorted by."""

    head: str
    meaning: str

    def cell(self, method: Method) -> tuple[str, float | int | None]:
        return _CELLS[self.head](method)


def _plain(value: float | int | None, digits: int = 0) -> tuple[str, float | int | None]:
    return ("-", None) if value is None else (f"{value:,.{digits}f}", value)


def _signed(value: float | int | None, digits: int = 1) -> tuple[str, float | int | None]:
    return ("-", None) if value is None else (f"{value:+.{digits}f}", value)


def _score(method: Method) -> tuple[str, float | int | None]:
    score = method.score
    if score is None:
        return "-", None
    interval = "" if score.interval is None else f" [{score.interval[0]:.1f}, {score.interval[1]:.1f}]"
    return f"{score.mean:.1f}{interval}", score.mean


def _beside(method: Method) -> tuple[str, float | int | None]:
    judged = method.beside
    if judged is None or judged.value is None:
        return "-", None
    interval = "" if judged.interval is None else f" [{judged.interval[0]:.1f}, {judged.interval[1]:.1f}]"
    told = " *" if judged.verdict in (SUPPORTED, CONTRADICTED) else ""
    return f"{judged.value:+.1f}{interval}{told}", judged.value


def _spread(method: Method) -> tuple[str, float | int | None]:
    return _plain(None if method.score is None else method.score.sd, 1)


_CELLS = {
    "method": lambda each: (each.name, None),
    "score": _score,
    "above baseline": _beside,
    "sd": _spread,
    "lower rates": lambda each: _signed(next((v for f, v in each.around.items() if f < 1), None)),
    "higher rates": lambda each: _signed(next((v for f, v in each.around.items() if f > 1), None)),
    "weights": lambda each: _plain(each.weights),
    "file kB": lambda each: _plain(None if each.file_bytes is None else each.file_bytes / 1e3, 1),
    "train s": lambda each: _plain(each.seconds, 1),
    "step ms": lambda each: _plain(each.step_ms, 1),
    "memory MB": lambda each: _plain(each.memory_mb, 1),
    "answer ms": lambda each: _plain(each.answer_ms, 2),
    "folded ms": lambda each: _plain(each.folded_ms, 2),
    "forgetting": lambda each: _signed(each.forgetting, 3),
    "PSCP": lambda each: _plain(each.pscp, 2),
    "runs": lambda each: (f"{each.finished} of {each.wanted}", float(each.finished)),
}
COLUMNS = tuple(
    Column(*each)
    for each in (
        ("method", "docs/methods.md explains each"),
        ("score", "test score x 100, mean over tasks and seeds, with a 95 % interval over seeds and, but for captions, "
                  "over test items (the wider of t's and min F'), not cut at 0 and 100; in the pictures a whisker is "
                  "one standard deviation over seeds"),
        ("above baseline", "difference from the table's baseline, paired by seed, with its own 95 % interval; * where "
                           "Holm's procedure at 5 %, over all methods of the table, rejects chance"),
        ("sd", "standard deviation over seeds of a seed's score, its mean over the tasks"),
        ("lower rates", "change of the score at lower rates than the tuned ones with the same seeds, a third unless "
                        "`around` says otherwise"),
        ("higher rates", "the same at higher rates, three times the tuned ones"),
        ("weights", "trained weights, without the projection's"),
        ("file kB", "adapter_model.safetensors, 1,000 bytes"),
        ("train s", "seconds of training, evaluation left out; several runs may share the machine"),
        ("step ms", "forward and backward pass, median over rounds in which the methods take turns"),
        ("memory MB", "10^6 bytes that training holds, counted: frozen model, trained weights with gradients and "
                      "AdamW's averages, and what a step keeps for its backward pass"),
        ("answer ms", "answering a validation row, median over the rounds"),
        ("folded ms", "the same with the adapter folded to constants, or merged into the frozen model; - where neither "
                      "is possible"),
        ("forgetting", "nats per token by which the loss on held-out plain text rises with the adapter on"),
        ("PSCP", "PEFT-Bench's score (arXiv:2511.21285): points after penalties for weights, operations and memory; "
                 "made for scores up to 100, which CIDEr exceeds"),
        ("runs", "finished of planned"),
    )
)  # fmt: skip


@dataclass(frozen=True)
class Compared:
    """A plan's part of the page. columns: those that some method has."""

    table: Table
    methods: tuple[Method, ...]
    command: str
    figures: tuple[tuple[str, str], ...]

    @property
    def columns(self) -> list[Column]:
        def known(column: Column) -> bool:
            return any(column.cell(method)[1] is not None for method in self.methods)

        return [each for each in COLUMNS if each.head == "method" or known(each)]

    @property
    def family(self) -> int:
        """How many comparisons with the baseline are corrected together."""
        return max((each.beside.family for each in self.methods if each.beside is not None), default=0)

    @property
    def around(self) -> str:
        """ " Lower and higher rates were run with seed 1." """
        tune = self.table.plan.tune
        if tune is None or not tune.around:
            return ""
        seeds = ", ".join(map(str, tune.around_seeds))
        return f" Lower and higher rates were run with seed{'s' if len(tune.around_seeds) > 1 else ''} {seeds}."

    @property
    def tasks(self) -> list[str]:
        return list(dict.fromkeys(task for method in self.methods for task in method.cell.tasks))

    @property
    def unfinished(self) -> list[Method]:
        return [each for each in self.methods if each.missing]

    @property
    def finished(self) -> tuple[int, int]:
        return self.table.finished, len(self.table.wanted)


def write_comparison(tables: Sequence[tuple[Table, str]], folder: Path) -> None:
    """comparison.md, comparison.html, pictures and archives of PEFT's records into `folder`. tables: each with what
    stands behind its plan file in its command."""
    parts = []
    for table, more in tables:
        command = plan_command(table.plan, more)
        methods = tuple(compare_methods(table, command))
        plots = [dataclasses.replace(plot, cells=tuple(each.name for each in methods)) for plot in _PARETO]
        drawn = write_figures(table, folder / "figures", plots)
        named = tuple((plot.title, file_name(table.plan, plot)) for plot in plots)
        parts.append(Compared(table, methods, command, tuple(each for each in named if each[1] in drawn)))
        if records := peft_records(table):
            path = folder / PAGE / f"{table.plan.name}.tar.xz"
            if table.stored is not None and path.exists():  # of runs that are not here
                wanted = {f"{place.run}.json" for place in table.wanted}
                records = {name: text for name, text in unpacked(path.read_bytes()).items() if name in wanted} | records
            write_files_whole(path.parent, {path.name: archive(records)})
    uris = {name: data_uri(folder / "figures" / f"{name}.png") for part in parts for _, name in part.figures}
    facts = {"parts": parts, "columns": COLUMNS, "records": PAGE}
    write_pages(folder, PAGE, facts, uris)
