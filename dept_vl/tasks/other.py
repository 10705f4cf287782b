"""WinoGrande, Yelp polarity, SciTail and PAWS: the four sets that DePT calls "other".

    {"qID": "K1-1", "sentence": "The lamp did not fit under the shelf because the _ was too tall.", "option1": "lamp",
     "option2": "shelf", "answer": "1"}                                                                  # winogrande
    "2","Warm bread, kind waiters.\\nWe will come back."                                              # yelp_polarity
    {"sentence1": "Iron rusts when wet.", "sentence2": "Rust needs water.", "gold_label": "entailment"}      # scitail
    17	The crew left the old port .	The old crew left the port .	0                                       # paws

WinoGrande: Sakaguchi et al., AAAI 2020, arXiv:1907.10641. Yelp polarity: Zhang et al., NeurIPS 2015, arXiv:1509.01626.
SciTail: Khot et al., AAAI 2018. PAWS: Zhang et al., NAACL 2019, arXiv:1904.01130.

as_published keeps two defects of DePT's and ATTEMPT's code: WinoGrande shows option1 twice and never option2, though
it asks which of the two is meant, and SciTail's validation set is halved though it has a test set. official_dev mends
both.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dept_vl.tasks.source import Files, Row, Source, Splits, either
from dept_vl.tasks.text_task import Answer, BadRow, TextTask


def _from_one(given: Any, names: Sequence[str]) -> int:
    """The place of a class that its set counts from 1. Raises: BadRow."""
    wanted = [str(number + 1) for number in range(len(names))]
    if str(given) not in wanted:
        raise BadRow(f"label outside the set: wanted {' or '.join(wanted)}, given {given!r}")
    return wanted.index(str(given))


def _option1_twice(row: Row) -> Mapping[str, str]:
    return {"sentence": row["sentence"], "option0": row["option1"], "option1": row["option1"]}


def _both_options(row: Row) -> Mapping[str, str]:
    return {"sentence": row["sentence"], "option0": row["option1"], "option1": row["option2"]}


def _right_option(task: TextTask, row: Row) -> Answer:
    label = task.labels[_from_one(row["answer"], task.label_names)]
    return Answer((label,), (label,))


_WINOGRANDE = TextTask(
    name="winogrande",
    source=Source(
        hub="allenai/winogrande",
        subset="winogrande_xl",
        folders=("winogrande_1.1", "winogrande"),
        files={"train": either("train_xl.jsonl"), "validation": either("dev.jsonl")},
        home="the WinoGrande project's site, winogrande.allenai.org, or the hub's allenai/winogrande",
        whole={"train": 40_398, "validation": 1_267},
    ),
    splits=Splits("from_train", sizes=(39_398, 1_000, 1_267)),
    template="sentence: {sentence} option0: {option0} option1: {option1}",
    context="sentence",
    protocols={"as_published": {}, "official_dev": {"fields": _both_options}},
    label_names=("option0", "option1"),
    label_field="answer",
    fields=_option1_twice,
    answers=_right_option,
)

_YELP_CLASSES = ("negative", "positive")


def _review(row: Row) -> Iterable[Row]:
    """A line of the official file, whose class is 1 or 2, with the hub's label, 0 or 1. Raises: BadRow."""
    if "label" in row:
        yield row
    else:
        yield {"label": _from_one(row["class"], _YELP_CLASSES), "text": row["text"]}


_YELP_POLARITY = TextTask(
    name="yelp_polarity",
    source=Source(
        hub="fancyzhx/yelp_polarity",
        folders=("yelp_review_polarity_csv", "yelp_polarity"),
        files={split: either(f"{split}.csv", columns=("class", "text")) for split in ("train", "test")},
        home="yelp_review_polarity_csv.tgz of Zhang et al.'s character-level sets, or the hub's fancyzhx/yelp_polarity",
        whole={"train": 560_000, "test": 38_000},
        unfold=_review,
    ),
    splits=Splits("from_train", test="test", most_train=100_000, sizes=(100_000, 1_000, 38_000)),
    template="sentence: {text}",
    context="text",
    label_names=_YELP_CLASSES,
)


def _scitail_files(split: str) -> tuple[Files, ...]:
    columns = ("sentence1", "sentence2", "gold_label")
    return (
        *either(f"snli_format/scitail_1.0_{split}.txt"),
        *either(f"tsv_format/scitail_1.0_{split}.tsv", columns=columns),
    )


_SCITAIL = TextTask(
    name="scitail",
    source=Source(
        hub="allenai/scitail",
        subset="snli_format",
        folders=("SciTailV1.1", "scitail"),
        files={"train": _scitail_files("train"), "validation": _scitail_files("dev"), "test": _scitail_files("test")},
        home="SciTailV1.1.zip of the Allen Institute's site, allenai.org/data/scitail, or the hub's allenai/scitail",
        whole={"train": 23_596, "validation": 1_304, "test": 2_126},
    ),
    splits=Splits("halve", sizes=(23_596, 652, 652)),
    template="premise: {sentence1} hypothesis: {sentence2}",
    context="sentence1",
    protocols={
        "as_published": {},
        "official_dev": {"splits": Splits("own", test="test", sizes=(23_596, 1_304, 2_126))},
    },
    label_names=("entailment", "neutral"),
    label_field="gold_label",
)

_PAWS = TextTask(
    name="paws",
    source=Source(
        hub="google-research-datasets/paws",
        subset="labeled_final",
        folders=("final", "paws_wiki_labeled_final"),
        files={"train": either("train.tsv"), "validation": either("dev.tsv"), "test": either("test.tsv")},
        home="paws_wiki_labeled_final.tar.gz of the PAWS project, or the hub's google-research-datasets/paws",
        whole={"train": 49_401, "validation": 8_000, "test": 8_000},
    ),
    splits=Splits("own", test="test", sizes=(49_401, 8_000, 8_000)),
    template="sentence1: {sentence1} sentence2: {sentence2}",
    context="sentence1",
    label_names=("different", "paraphrase"),
)

OTHER = (_WINOGRANDE, _YELP_POLARITY, _SCITAIL, _PAWS)
