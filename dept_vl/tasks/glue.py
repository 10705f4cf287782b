"""GLUE. Wang et al., ICLR 2019, arXiv:1804.07461.

    gj04<tab>1<tab><tab>The sailors rode the breeze clear of the rocks.                     # CoLA/dev.tsv, no header
    Quality<tab>#1 ID<tab>#2 ID<tab>#1 String<tab>#2 String                                 # MRPC/dev.tsv, its header
    {"sentence1": "A cat sat.", "sentence2": "A cat was sitting.", "label": 4.2, "idx": 0}  # stsb on the hub

as_published is DePT's: the small sets' validation is halved into val and test, the large ones hold out 1,000 training
rows, MNLI selects on mismatched and reports matched. official_dev holds rows out of train and reports the whole
official validation set. Fields and words of the templates, and the digits as labels, are the published ones.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from dept_vl.tasks.source import Files, Row, Source, Splits, either
from dept_vl.tasks.text_task import Answer, BadRow, TextTask

_TSV = {"train": either("train.tsv"), "validation": either("dev.tsv")}
_COLA = ("source", "label", "star", "sentence")
_SST2 = ("sentence", "label")
_STSB = ("sentence1", "sentence2", "score")
_ENTAILMENT = ("entailment", "not_entailment")


def _renamed(names: Mapping[str, str]) -> Callable[[Row], Iterable[Row]]:
    """An `unfold`: the official columns under the hub's names; a row without them as it is."""

    def unfold(record: Row) -> Iterable[Row]:
        if names.keys().isdisjoint(record):
            return [record]
        return [{names.get(column, column): value for column, value in record.items()}]

    return unfold


def _task(
    name: str,
    folder: str,
    whole: Mapping[str, int],
    splits: Splits,
    template: str,
    context: str,
    *,
    files: Mapping[str, tuple[Files, ...]] = _TSV,
    columns: Mapping[str, str] | None = None,
    **more: Any,
) -> TextTask:
    """columns: the official files' names for the hub's columns, where they differ."""
    return TextTask(
        name=name,
        source=Source(
            hub="nyu-mll/glue",
            subset=name,
            folders=(folder,),
            files=files,
            home="the GLUE project's site, gluebenchmark.com, or the hub's nyu-mll/glue",
            whole=whole,
            unfold=None if columns is None else _renamed(columns),
        ),
        splits=splits,
        template=template,
        context=context,
        protocols={"as_published": {}, "official_dev": {"splits": Splits("from_train", test=splits.test)}},
        **more,
    )


def _similarity(task: TextTask, row: Row) -> Answer:
    """The score to one decimal as the target; as the reference too where published, for there both are decoded text,
    and as it stands under official_dev.

    The published helper also multiplies by 5 and divides by 5 first, which changes nothing. The hub's scores are
    32-bit: there 0.85 lies above the half and becomes 0.9, in 64 bits below it.
    """
    try:
        score = float(row["label"])
    except (TypeError, ValueError):
        score = float("nan")
    if not 0 <= score <= 5:
        raise BadRow(f"wanted a score from 0 to 5 as label, given {row['label']!r}")
    target = f"{np.float32(score):.1f}"
    return Answer((target,), (str(score) if task.protocol == "official_dev" else target,))


GLUE = (
    _task(
        "cola", "CoLA", {"train": 8551, "validation": 1043},
        Splits("halve", sizes=(8551, 521, 522)),
        "sentence: {sentence}", "sentence",
        selecting=("matthews_correlation", "accuracy"),
        label_names=("unacceptable", "acceptable"),
        files={
            "train": either("train.tsv", "in_domain_train.tsv", columns=_COLA),
            "validation": (
                *either("dev.tsv", columns=_COLA),
                Files(("in_domain_dev.tsv", "out_of_domain_dev.tsv"), _COLA),
            ),
        },
    ),
    _task(
        "sst2", "SST-2", {"train": 67_349, "validation": 872},
        Splits("from_train", sizes=(66_349, 1000, 872)),
        "sentence: {sentence}", "sentence",
        label_names=("negative", "positive"),
        files={"train": either("train.tsv", columns=_SST2), "validation": either("dev.tsv", columns=_SST2)},
    ),
    _task(
        "mrpc", "MRPC", {"train": 3668, "validation": 408},
        Splits("halve", sizes=(3668, 204, 204)),
        "sentence1: {sentence1} sentence2: {sentence2}", "sentence1",
        selecting=("accuracy", "f1"),
        label_names=("not_equivalent", "equivalent"),
        # GLUE's dev.tsv is part of the corpus's own training file; its test file is other text.
        files={
            "train": either("train.tsv", "msr_paraphrase_train.txt"),
            "validation": either("dev.tsv", "msr_paraphrase_test.txt"),
        },
        columns={"Quality": "label", "#1 String": "sentence1", "#2 String": "sentence2"},
    ),
    _task(
        "qqp", "QQP", {"train": 363_846, "validation": 40_430},
        # Table 9 prints 40,431 for the test set: 40,430 rows and the header line of dev.tsv. Its 362,846 training rows
        # are 363,846 less 1,000, so without the lines of train.tsv that are cut by a line break within a question.
        Splits("from_train", sizes=(362_846, 1000, 40_430)),
        "question1: {question1} question2: {question2}", "question1",
        selecting=("accuracy", "f1"),
        label_names=("not_duplicate", "duplicate"),
        columns={"is_duplicate": "label"},
    ),
    _task(
        "stsb", "STS-B", {"train": 5749, "validation": 1500},
        Splits("halve", sizes=(5749, 750, 750)),
        "sentence1: {sentence1} sentence2: {sentence2}", "sentence1",
        selecting=("pearson", "spearmanr"),
        choices=tuple(f"{tenths / 10:.1f}" for tenths in range(51)),
        answers=_similarity,
        files={
            "train": (*_TSV["train"], *either("stsb-en-train.csv", columns=_STSB)),
            "validation": (*_TSV["validation"], *either("stsb-en-dev.csv", columns=_STSB)),
        },
        columns={"score": "label"},
    ),
    _task(
        "mnli", "MNLI", {"train": 392_702, "validation_matched": 9815, "validation_mismatched": 9832},
        Splits("own", val="validation_mismatched", test="validation_matched", sizes=(392_702, 9832, 9815)),
        "premise: {premise} hypothesis: {hypothesis}", "premise",
        label_names=("entailment", "neutral", "contradiction"),
        files={
            "train": either("train.tsv"),
            "validation_matched": either("dev_matched.tsv"),
            "validation_mismatched": either("dev_mismatched.tsv"),
        },
        columns={"sentence1": "premise", "sentence2": "hypothesis", "gold_label": "label"},
    ),
    _task(
        "qnli", "QNLI", {"train": 104_743, "validation": 5463},
        Splits("from_train", sizes=(103_743, 1000, 5463)),
        "question: {question} sentence: {sentence}", "sentence",
        label_names=_ENTAILMENT,
    ),
    _task(
        "rte", "RTE", {"train": 2490, "validation": 277},
        Splits("halve", sizes=(2490, 138, 139)),
        "sentence1: {sentence1} sentence2: {sentence2}", "sentence1",
        label_names=_ENTAILMENT,
    ),
)  # fmt: skip
"""The eight tasks of GLUE that the papers report; WNLI is not among them."""
