"""SuperGLUE. Wang et al., NeurIPS 2019, arXiv:1905.00537.

    {"question": "do ducks fly", "passage": "Ducks -- Most ducks fly well.", "idx": 0, "label": true}       # BoolQ
    {"idx": 0, "passage": {"text": "Ann fed the ducks.", "questions": [{"idx": 0, "question": "Who was fed?",
     "answers": [{"idx": 0, "text": "Ann", "label": 0}, {"idx": 1, "text": "ducks", "label": 1}]}]}}        # MultiRC

as_published is DePT's: the validation set is halved into val and test; ReCoRD holds out 1,000 queries of train.
as_published_dpt is DPT's: the whole validation set both selects and is reported. official_dev holds rows out of train
and reports the whole validation set; there COPA asks for cause or effect, which the published template forgets, MultiRC
is also scored by question, and ReCoRD has one example for each query.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dept_vl.metrics.multirc import multirc_scores
from dept_vl.metrics.referent import referent_scores
from dept_vl.metrics.squad import answer_scores
from dept_vl.tasks import record, wsc
from dept_vl.tasks.source import Row, Source, Splits, either
from dept_vl.tasks.text_task import TextTask

_FALSE_TRUE = ("False", "True")


def _task(
    name: str,
    folder: str,
    sizes: tuple[int, int],
    splits: Splits,
    template: str,
    context: str,
    *,
    label_names: tuple[str, ...] = _FALSE_TRUE,
    unfold: Callable[[Row], Iterable[Row]] | None = None,
    official: Mapping[str, Any] | None = None,
    dpt: Mapping[str, Any] | None = None,
    **more: Any,
) -> TextTask:
    """sizes: rows of the published train and validation. official, dpt: what these protocols change besides splits."""
    train, validation = sizes
    return TextTask(
        name=f"superglue-{name}",
        source=Source(
            hub="aps/super_glue",
            subset=name,
            folders=(folder,),
            files={"train": either("train.jsonl"), "validation": either("val.jsonl")},
            home="the SuperGLUE project's site, super.gluebenchmark.com, or the hub's aps/super_glue",
            whole={"train": train, "validation": validation},
            unfold=unfold,
        ),
        splits=splits,
        template=template,
        context=context,
        protocols={
            "as_published": {},
            "official_dev": {"splits": Splits("from_train"), **(official or {})},
            "as_published_dpt": {
                "splits": Splits("own", sizes=(train, validation, validation)),
                "max_source_length": 256,
                **(dpt or {}),
            },
        },
        label_names=label_names,
        **more,
    )


def _unfold_multirc(entry: Row) -> Iterable[Row]:
    """A row for each answer to each question about a passage."""
    if "questions" not in entry.get("passage", ()):
        return [entry]
    return [
        {
            "paragraph": entry["passage"]["text"],
            "question": asked["question"],
            "answer": answer["text"],
            "idx": {"paragraph": entry["idx"], "question": asked["idx"], "answer": answer["idx"]},
            "label": answer["label"],
        }
        for asked in entry["passage"]["questions"]
        for answer in asked["answers"]
    ]


def _without_markup(row: Row) -> Row:
    texts = {name: row[name].replace("<br>", " ") for name in ("question", "answer", "paragraph")}
    return {**row, **{name: re.sub("</?b>", "", text) for name, text in texts.items()}}


def _asked(row: Row) -> str:
    return f"{row['idx']['paragraph']}-{row['idx']['question']}"


def _passage(row: Row) -> str:
    return str(row["idx"]["paragraph"])


SUPERGLUE = (
    _task(
        "boolq", "BoolQ", (9427, 3270),
        Splits("halve", sizes=(9427, 1635, 1635)),
        "question: {question} passage: {passage}", "passage",
    ),
    _task(
        "cb", "CB", (250, 56),
        Splits("halve", sizes=(250, 28, 28)),
        "premise: {premise} hypothesis: {hypothesis}", "premise",
        selecting=("accuracy", "f1_macro"),  # DePT reports the first and selects by the second
        label_names=("entailment", "contradiction", "neutral"),
    ),
    _task(
        "copa", "COPA", (400, 100),
        Splits("halve", sizes=(400, 50, 50)),  # not in Table 9: the halves that DePT's code makes
        "premise: {premise} choice1: {choice1} choice2: {choice2}", "premise",
        label_names=("choice1", "choice2"),
        official={"template": "premise: {premise} choice1: {choice1} choice2: {choice2} question: {question}"},
    ),
    _task(
        "multirc", "MultiRC", (27_243, 4848),
        Splits("halve", sizes=(27_243, 2424, 2424)),
        "question: {question} answer: {answer} paragraph: {paragraph}", "paragraph",
        selecting=("f1", "accuracy"),
        unfold=_unfold_multirc,
        official={
            "scores": multirc_scores,
            "selecting": ("f1", "f1_a", "f1_m", "exact_match"),
            "splits": Splits("from_train", together=_passage),  # a question's answers are scored together
        },
        fields=_without_markup,
        group=_asked,
        max_source_length=348,
    ),
    _task(
        "record", "ReCoRD", (100_730, 10_000),
        # One example for each answer, also at test: 138,854 of train, of them 1,370 of the 1,000 queries held out.
        Splits("from_train", sizes=(137_484, 1370, 15_176)),
        "record query: {query} entities: {entities} passage: {passage}", "passage",
        selecting=("f1", "exact_match"),
        label_names=(),
        unfold=record.unfold,
        official={"expand": None},
        # DPT's code expands too; its Table 2 counts the 100,730 and 10,000 queries.
        dpt={"splits": Splits("own", sizes=(138_854, 15_176, 15_176))},
        scores=answer_scores,
        fields=record.fields,
        answers=record.answers,
        expand=record.row_per_answer,
        group=record.query,
        max_source_length=512,
        max_target_length=32,  # names of people and places; published runs generate up to 20
    ),
    _task(
        "rte", "RTE", (2490, 277),
        Splits("halve", sizes=(2490, 138, 139)),
        "premise: {premise} hypothesis: {hypothesis}", "premise",
        label_names=("entailment", "not_entailment"),
    ),
    _task(
        "wic", "WiC", (5428, 638),
        Splits("halve", sizes=(5428, 319, 319)),
        "sentence1: {sentence1} sentence2: {sentence2} word: {word}", "sentence1",
    ),
    _task(
        "wsc.fixed", "WSC", (554, 104),
        Splits("halve", sizes=(554, 52, 52)),
        "text: {text}", "text",
        unfold=wsc.unfold,
        fields=wsc.marked_spans,
        dpt={
            "splits": Splits("own", sizes=(259, 104, 104), trained=wsc.is_referent),
            "fields": wsc.marked_pronoun,
            "answers": wsc.candidate,
            "scores": referent_scores,
            "label_names": (),
            "max_target_length": 32,  # nouns with all that describes them
        },
    ),
)  # fmt: skip
