"""MRQA: short answers from Wikipedia, search results and news. Fisch et al., MRQA 2019, arXiv:1910.09753.

    {"header": {"dataset": "NewsQA", "split": "train"}}
    {"id": "", "context": "The ferry Aurora left at dawn with 40 people on board.", "context_tokens": [...],
     "qas": [{"qid": "7f1c", "question": "When did the ferry leave?", "answers": ["at dawn"], "question_tokens": [...],
              "detected_answers": [{"text": "at dawn", "char_spans": [[22, 28]], "token_spans": [[4, 5]]}]}]}

An official file is JSON lines, a header first and then a line per passage; the hub has a row per question. Passages of
SearchQA (943 words on average) and NewsQA (616) do not fit into 512 pieces, so some lose their answer.

as_published: padded punctuation, the first gold answer only (see `reading`). Published runs chose their checkpoint by
exact match and reported F1; here F1 chooses by default. official_dev: the text as it stands, all gold answers.
"""

from collections.abc import Iterable

from dept_vl.tasks.reading import reading_task
from dept_vl.tasks.source import Row, Source, Splits, either
from dept_vl.tasks.text_task import BadRow, TextTask

# The shared task's own folders (train/NewsQA.jsonl), or a folder for each set (NewsQA/train.jsonl).
_LAYOUTS = ("{split}/{name}.jsonl", "{name}/{split}.jsonl")
_OFFICIAL_SPLIT = {"train": "train", "validation": "dev"}


def _questions(record: Row) -> Iterable[Row]:
    """A header gives nothing, a passage a row for each of its questions, a row itself. Raises: BadRow."""
    if "header" in record:
        return
    if "qas" not in record:
        if "question" not in record:
            wanted = "a header, a passage with 'qas' or a row with 'question'"
            raise BadRow(f"MRQA: wanted {wanted}, given a record with {', '.join(map(str, record)) or 'nothing'}")
        yield record
        return
    for asked in record["qas"]:
        yield {
            "key": asked["qid"],
            "context": record["context"],
            "question": asked["question"],
            "answers": asked["answers"],
        }


def _task(name: str, official: str, hub: str, train: int, validation: int) -> TextTask:
    files = {
        split: either(*(layout.format(split=given, name=official) for layout in _LAYOUTS))
        for split, given in _OFFICIAL_SPLIT.items()
    }
    source = Source(
        hub=f"lucadiliello/{hub}",
        folders=("mrqa", "MRQA"),
        files=files,
        home=f"the MRQA 2019 shared task, github.com/mrqa/MRQA-Shared-Task-2019, or the hub's lucadiliello/{hub}",
        whole={"train": train, "validation": validation},
        unfold=_questions,
    )
    return reading_task(name, source, Splits("from_train", sizes=(train - 1000, 1000, validation)))


MRQA = (
    _task("nq", "NaturalQuestionsShort", "naturalquestionsshortqa", 104_071, 12_836),
    _task("hotpotqa", "HotpotQA", "hotpotqa", 72_928, 5_901),
    _task("searchqa", "SearchQA", "searchqa", 117_384, 16_980),
    _task("newsqa", "NewsQA", "newsqa", 74_160, 4_212),
)
