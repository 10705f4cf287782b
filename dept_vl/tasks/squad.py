"""SQuAD 1.1 and 2.0: answers from Wikipedia, or none. Rajpurkar et al., arXiv:1606.05250 and arXiv:1806.03822.

    {"version": "v2.0", "data": [{"title": "Lighthouses", "paragraphs": [{
       "context": "The tower of Skerry Point was built in 1871 by the brothers Moir.",
       "qas": [{"id": "5a01", "question": "Who built the tower?", "is_impossible": false,
                "answers": [{"text": "the brothers Moir", "answer_start": 47}]},
               {"id": "5a02", "question": "Who painted the tower?", "is_impossible": true, "answers": [],
                "plausible_answers": [{"text": "the brothers Moir", "answer_start": 47}]}]}]}]}

An official file is one JSON object; the hub has a row per question, its answers {"text": [...], "answer_start": [...]}.

squad, as_published: as MRQA's (see `reading`), 1,000 training rows for validation. DePT's code turns the whole answer
dictionary into the target's text; that is mended here, no published number rests on it. official_dev: the text as it
stands, all gold answers.
squad_v2, as_published: FPT's, which reports exact match on the development set that it also selects on; the sentinel
that its targets begin with (it tunes T5 1.1) is left out. official_dev: 1,000 training rows for validation. Both: the
text as it stands, all gold answers; a question without one has the target "no answer", and "no answer" and an empty
output both count as saying so.
"""

from collections.abc import Iterable, Sequence

from dept_vl.metrics.squad import mean_scores, normalise
from dept_vl.tasks.example import Example
from dept_vl.tasks.reading import all_plain, reading_task
from dept_vl.tasks.source import Row, Source, Splits, either
from dept_vl.tasks.text_task import Answer, BadRow, TextTask

NO_ANSWER = "no answer"


def _questions(record: Row) -> Iterable[Row]:
    """An official file, or one article of it, gives a row for each question; a row gives itself. Raises: BadRow."""
    if "question" in record:
        yield record
        return
    articles = record["data"] if "data" in record else [record]
    for article in articles:
        if "paragraphs" not in article:
            given = ", ".join(map(str, article)) or "nothing"
            raise BadRow(f"SQuAD: wanted 'data', an article with 'paragraphs' or a row with 'question', given {given}")
        for paragraph in article["paragraphs"]:
            for asked in paragraph["qas"]:
                yield {
                    "id": asked["id"],
                    "title": article.get("title", ""),
                    "context": paragraph["context"],
                    "question": asked["question"],
                    "answers": {
                        "text": [answer["text"] for answer in asked["answers"]],
                        "answer_start": [answer["answer_start"] for answer in asked["answers"]],
                    },
                }


def _answers_or_none(task: TextTask, row: Row) -> Answer:
    answer = all_plain(task, row)
    return answer if answer.targets else Answer((NO_ANSWER,), (NO_ANSWER,))


def _scores_with_none(task: TextTask, predictions: Sequence[str], examples: Sequence[Example]) -> dict[str, float]:
    """As evaluate-v2.0.py: no answer is the empty string, and a gold answer without words is none."""
    pairs = [
        (_blanked(given), [gold for gold in map(_blanked, example.references) if normalise(gold)] or [""])
        for given, example in zip(predictions, examples, strict=True)
    ]
    return mean_scores(pairs)


def _blanked(answer: str) -> str:
    return "" if normalise(answer) == NO_ANSWER else answer


def _source(name: str, version: str, train: int, validation: int) -> Source:
    return Source(
        hub=f"rajpurkar/{name}",
        folders=(name, "squad", "SQuAD"),
        files={"train": either(f"train-{version}.json"), "validation": either(f"dev-{version}.json")},
        home=f"the SQuAD project's site, rajpurkar.github.io/SQuAD-explorer, or the hub's rajpurkar/{name}",
        whole={"train": train, "validation": validation},
        unfold=_questions,
    )


SQUAD = (
    reading_task("squad", _source("squad", "v1.1", 87_599, 10_570), Splits("from_train")),
    reading_task(
        "squad_v2",
        _source("squad_v2", "v2.0", 130_319, 11_873),
        Splits("own"),
        scores=_scores_with_none,
        selecting=("exact_match", "f1"),  # FPT's table reports the first
        protocols={"as_published": {}, "official_dev": {"splits": Splits("from_train")}},
        fields=None,
        answers=_answers_or_none,
    ),
)
