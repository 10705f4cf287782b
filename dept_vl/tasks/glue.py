"""GLUE. Wang et al., ICLR 2019, arXiv:1804.07461.

    gj04<tab>1<tab><tab>The sailors rode the breeze clear of the rocks.                     # CoLA/dev.tsv, no header
    Quality<tab>#1 ID<tab>#2 ID<tab>#1 String<tab>#2 String                                 # MRPC/dev.tsv, its header
    {"sentence1": "A cat sat.", "sentence2": "A cat was sitting.", "label": 4.2, "idx": 0}  # stsb on the hub

as_published is DePT's: the small sets' validation is halved into val and test, the large ones hold out 1,000 training
rows, MNLI selects on mismatched and reports matched. official_dev holds rows out of train and reports the whole
official validation set. Fields and words of the templates, and the digits as labels, are the published ones.
"""

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from dept_vl.metrics.labels import label_scores
from dept_vl.tasks.source import Files, Row, Source, Splits
from dept_vl.tasks.text_task import Answer, BadRow, TextTask

_TSV = {"train": (Files(("train.tsv",)),), "validation": (Files(("dev.tsv",)),)}
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


def _source(
    subset: str,
    folder: str,
    whole: Mapping[str, int],
    files: Mapping[str, tuple[Files, ...]] = _TSV,
    columns: Mapping[str, str] | None = None,
) -> Source:
    return Source(
        hub="nyu-mll/glue",
        subset=subset,
        folders=(folder,),
        files=files,
        home="the GLUE project's site, gluebenchmark.com, or the hub's nyu-mll/glue",
        whole=whole,
        unfold=None if columns is None else _renamed(columns),
    )


def _task(
    source: Source,
    splits: Splits,
    template: str,
    context: str,
    metrics: tuple[str, ...],
    *,
    label_names: tuple[str, ...] = (),
    choices: tuple[str, ...] = (),
    answers: Callable[[TextTask, Row], Answer] | None = None,
) -> TextTask:
    return TextTask(
        name=source.subset,
        source=source,
        splits=splits,
        template=template,
        context=context,
        scores=label_scores(*metrics),
        headline=metrics[0],
        selecting=metrics,
        protocols={"as_published": {}, "official_dev": {"splits": Splits("from_train", test=splits.test)}},
        label_names=label_names,
        choices=choices,
        answers=answers,
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
        where = f"{task.name}: row {row.get('id', row.get('idx'))!r}"
        raise BadRow(f"{where}: wanted a score from 0 to 5 as label, given {row['label']!r}")
    target = f"{np.float32(score):.1f}"
    return Answer((target,), (str(score) if task.protocol == "official_dev" else target,))


GLUE = (
    _task(
        _source(
            "cola",
            "CoLA",
            {"train": 8551, "validation": 1043},
            {
                "train": (Files(("train.tsv",), _COLA), Files(("in_domain_train.tsv",), _COLA)),
                "validation": (
                    Files(("dev.tsv",), _COLA),
                    Files(("in_domain_dev.tsv", "out_of_domain_dev.tsv"), _COLA),
                ),
            },
        ),
        Splits("halve", sizes=(8551, 521, 522)),
        "sentence: {sentence}",
        "sentence",
        ("matthews_correlation", "accuracy"),
        label_names=("unacceptable", "acceptable"),
    ),
    _task(
        _source(
            "sst2",
            "SST-2",
            {"train": 67_349, "validation": 872},
            {"train": (Files(("train.tsv",), _SST2),), "validation": (Files(("dev.tsv",), _SST2),)},
        ),
        Splits("from_train", sizes=(66_349, 1000, 872)),
        "sentence: {sentence}",
        "sentence",
        ("accuracy",),
        label_names=("negative", "positive"),
    ),
    _task(
        _source(
            "mrpc",
            "MRPC",
            {"train": 3668, "validation": 408},
            {
                # GLUE's dev.tsv is part of the corpus's own training file; its test file is other text.
                "train": (Files(("train.tsv",)), Files(("msr_paraphrase_train.txt",))),
                "validation": (Files(("dev.tsv",)), Files(("msr_paraphrase_test.txt",))),
            },
            {"Quality": "label", "#1 String": "sentence1", "#2 String": "sentence2"},
        ),
        Splits("halve", sizes=(3668, 204, 204)),
        "sentence1: {sentence1} sentence2: {sentence2}",
        "sentence1",
        ("accuracy", "f1"),
        label_names=("not_equivalent", "equivalent"),
    ),
    _task(
        _source("qqp", "QQP", {"train": 363_846, "validation": 40_430}, columns={"is_duplicate": "label"}),
        # Table 9 prints 40,431 for the test set: 40,430 rows and the header line of dev.tsv. Its 362,846 training rows
        # are 363,846 less 1,000, so without the lines of train.tsv that are cut by a line break within a question.
        Splits("from_train", sizes=(362_846, 1000, 40_430)),
        "question1: {question1} question2: {question2}",
        "question1",
        ("accuracy", "f1"),
        label_names=("not_duplicate", "duplicate"),
    ),
    _task(
        _source(
            "stsb",
            "STS-B",
            {"train": 5749, "validation": 1500},
            {
                "train": (*_TSV["train"], Files(("stsb-en-train.csv",), _STSB)),
                "validation": (*_TSV["validation"], Files(("stsb-en-dev.csv",), _STSB)),
            },
            {"score": "label"},
        ),
        Splits("halve", sizes=(5749, 750, 750)),
        "sentence1: {sentence1} sentence2: {sentence2}",
        "sentence1",
        ("pearson", "spearmanr"),
        choices=tuple(f"{tenths / 10:.1f}" for tenths in range(51)),
        answers=_similarity,
    ),
    _task(
        _source(
            "mnli",
            "MNLI",
            {"train": 392_702, "validation_matched": 9815, "validation_mismatched": 9832},
            {
                "train": (Files(("train.tsv",)),),
                "validation_matched": (Files(("dev_matched.tsv",)),),
                "validation_mismatched": (Files(("dev_mismatched.tsv",)),),
            },
            {"sentence1": "premise", "sentence2": "hypothesis", "gold_label": "label"},
        ),
        Splits("own", val="validation_mismatched", test="validation_matched", sizes=(392_702, 9832, 9815)),
        "premise: {premise} hypothesis: {hypothesis}",
        "premise",
        ("accuracy",),
        label_names=("entailment", "neutral", "contradiction"),
    ),
    _task(
        _source("qnli", "QNLI", {"train": 104_743, "validation": 5463}),
        Splits("from_train", sizes=(103_743, 1000, 5463)),
        "question: {question} sentence: {sentence}",
        "sentence",
        ("accuracy",),
        label_names=_ENTAILMENT,
    ),
    _task(
        _source("rte", "RTE", {"train": 2490, "validation": 277}),
        Splits("halve", sizes=(2490, 138, 139)),
        "sentence1: {sentence1} sentence2: {sentence2}",
        "sentence1",
        ("accuracy",),
        label_names=_ENTAILMENT,
    ),
)
"""The eight tasks of GLUE that the papers report; WNLI is not among them."""
