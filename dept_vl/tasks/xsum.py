"""XSum: a news article in one sentence. Narayan et al., EMNLP 2018, arXiv:1808.08745.

    {"document": "A ferry ran aground off Skerry Point on Monday. All 40 passengers were taken ashore by boat.",
     "summary": "Forty people were rescued when a ferry hit rocks.", "id": "10000001"}

The authors publish web addresses and a split by article id, no files of texts; what is read is the hub's set, or its
rows as JSON lines or CSV. The template is ours: FPT's text for this set is not known.

as_published: FPT's, which reports on the development set that it also selects on. official_dev: the set's own test
split. Both: summaries are cut at 64 pieces (FPT generates up to 512; a summary has 23 words on average).
"""

from dept_vl.metrics.rouge import counts_words, rouge_scores
from dept_vl.tasks.source import Files, Row, Source, Splits, either
from dept_vl.tasks.text_task import Answer, BadRow, TextTask


def _summary(task: TextTask, row: Row) -> Answer:
    summary = tuple(text for text in [row["summary"].strip()] if text)
    if any(map(str.isalnum, "".join(summary))) and not counts_words(summary[0]):
        raise BadRow(f"wanted a summary in letters a to z, which alone ROUGE counts, given {summary[0]!r:.80}")
    return Answer(summary, summary)


def _files(*names: str) -> tuple[Files, ...]:
    return either(*(f"{name}.{ending}" for name in names for ending in ("jsonl", "json", "csv")))


_XSUM = TextTask(
    name="xsum",
    source=Source(
        hub="EdinburghNLP/xsum",
        folders=("xsum", "XSum"),
        files={"train": _files("train"), "validation": _files("validation", "dev"), "test": _files("test")},
        home="the hub's EdinburghNLP/xsum; its authors' github.com/EdinburghNLP/XSum has addresses, not texts",
        whole={"train": 204_045, "validation": 11_332, "test": 11_334},
    ),
    splits=Splits("own"),
    template="document: {document}",
    context="document",
    scores=rouge_scores,
    selecting=("rougeL",),
    protocols={"as_published": {}, "official_dev": {"splits": Splits("own", test="test")}},
    answers=_summary,
    max_source_length=512,
    max_target_length=64,
)

XSUM = (_XSUM,)
