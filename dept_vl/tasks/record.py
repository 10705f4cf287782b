"""ReCoRD's rows: which entity of a news passage fills the gap in a query. Zhang et al., 2018, arXiv:1810.12885.

    {"idx": 0, "passage": {"text": "Ann left Ghent.\\n@highlight\\nGhent is old", "entities": [{"start": 0, "end": 2},
     {"start": 9, "end": 13}]}, "qas": [{"idx": 0, "query": "@placeholder has old houses.", "answers": [
     {"start": 9, "end": 13, "text": "Ghent"}]}]}                                   # ends are inclusive

As T5 preprocesses it: a row for each answer, which is its target; a prediction is scored against all answers.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from dept_vl.tasks.source import Row
from dept_vl.tasks.text_task import Answer, TextTask


def unfold(entry: Row) -> Iterable[Row]:
    """A row for each query about a passage; entities and answers once each and sorted, as the hub has them."""
    if not isinstance(entry["passage"], Mapping):
        return [entry]
    text = entry["passage"]["text"]
    entities = sorted({text[each["start"] : each["end"] + 1] for each in entry["passage"]["entities"]})
    return [
        {
            "passage": text,
            "query": asked["query"],
            "entities": entities,
            "answers": sorted({answer["text"] for answer in asked["answers"]}),
            "idx": {"passage": entry["idx"], "query": asked["idx"]},
        }
        for asked in entry["qas"]
    ]


def fields(row: Row) -> Row:
    """Highlights end a sentence: after a mark that does, or a quote, comes a space, after anything else a full stop."""
    passage = re.sub(
        r"""([.?!"'])?\n@highlight\n""", lambda found: f"{found[1]} " if found[1] else ". ", row["passage"]
    )
    return {**row, "passage": passage, "entities": ", ".join(row["entities"])}


def row_per_answer(row: Row) -> Sequence[Row]:
    return [{**row, "answer": answer} for answer in row["answers"]]


def answers(task: TextTask, row: Row) -> Answer:
    """The target is the answer that the row stands for, or any where it stands for all; each is a reference."""
    every = tuple(row["answers"])
    return Answer((row["answer"],) if "answer" in row else every, every)


def query(row: Row) -> str:
    return str(row["idx"]["query"])
