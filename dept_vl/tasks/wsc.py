"""WSC's rows: where its two spans stand in the text, and marks around them. Levesque et al., KR 2012.

    {"text": "Ann fed the duck because it cried.", "target": {"span1_index": 2, "span1_text": "the duck",
     "span2_index": 5, "span2_text": "it"}, "label": true, "idx": 0}

An index counts the words that white space makes. In the official files some spans differ from the text in the case of
their first letter ("The table" for "the table"), end in a full stop that it lacks or hold a line break; the hub's
wsc.fixed corrects these, `unfold` does so for the official files. Two of the 104 rows of the validation set have an
index that is off by a word or a pronoun within the noun ("their mothers"): there the published code marks the noun
alone. Here the place nearest to the index is taken, and marks may stand within marks.

DPT's form marks the pronoun alone and has the noun that it stands for as the target. It trains on the 259 rows whose
candidate is the referent. Its dev set keeps all 104, as its Table 2 prints and its scores tell: 63.14 and 64.74, means
of three runs, are 197 and 202 of 3 x 104, and spreads of 0.55, 0.96 and 1.92 are those of steps of 1/104. How the 66
rows count whose candidate is not the referent it does not say. Here, as in T5: right where the output does not name the
candidate, so whoever never names it has 66/104. (The code that DPT released drops them from the dev set, too.)
"""

import re
from collections.abc import Iterable

from dept_vl.tasks.source import Row
from dept_vl.tasks.text_task import Answer, BadRow, TextTask, class_index

_FALSE_TRUE = ("False", "True")


def unfold(record: Row) -> Iterable[Row]:
    """A row with the hub's fields, its spans spelled as in the text."""
    if "target" not in record:
        return [record]
    row = {**{name: value for name, value in record.items() if name != "target"}, **record["target"]}
    for span in ("span1", "span2"):
        if row[f"{span}_text"] not in row["text"]:
            start, end = place(row["text"], row[f"{span}_text"], row[f"{span}_index"])
            row[f"{span}_text"] = row["text"][start:end]
    return [row]


def marked_spans(row: Row) -> Row:
    spans = ((row["span1_text"], row["span1_index"], "*"), (row["span2_text"], row["span2_index"], "#"))
    return {**row, "text": marked(row["text"], *spans)}


def marked_pronoun(row: Row) -> Row:
    return {**row, "text": marked(row["text"], (row["span2_text"], row["span2_index"], "*"))}


def is_referent(row: Row) -> bool:
    return bool(class_index(_FALSE_TRUE, row["label"]))


def candidate(task: TextTask, row: Row) -> Answer:
    """The candidate noun as the target, right or not; the references are it and whether it is the referent."""
    return Answer((row["span1_text"],), (row["span1_text"], _FALSE_TRUE[is_referent(row)]))


def marked(text: str, *spans: tuple[str, int, str]) -> str:
    """The text with each span, given as its text, its index and a mark, between two such marks: "* the duck *"."""
    marks = []
    for span, index, mark in spans:
        start, end = place(text, span, index)
        # From the back; of two at one position the one inserted last stands first: inner ends, outer starts.
        marks += [(start, start - end, f"{mark} "), (end, end - start, f" {mark}")]
    for position, _, mark in sorted(marks, reverse=True):
        text = text[:position] + mark + text[position:]
    return text


def place(text: str, span: str, index: int) -> tuple[int, int]:
    """Start and end of the span's occurrence nearest to the word of that index, whatever its case.

    A span that occurs nowhere (two nouns with words between them) is as many words as it has, from the index on.
    Raises: BadRow if the text has no such word either.
    """
    words = [found.span() for found in re.finditer(r"\S+", text)]
    plain = " ".join(span.split())
    for form in (plain, plain.rstrip(".")):
        pattern = re.compile(re.escape(form) + r"(?!\w)", re.IGNORECASE)
        starts = [number for number, (start, _) in enumerate(words) if form and pattern.match(text, start)]
        if starts:
            start = words[min(starts, key=lambda number: abs(number - index))][0]
            return start, start + len(form)
    if not 0 <= index < len(words):
        raise BadRow(f"WSC: wanted the index of one of {len(words)} words, given {index} for {span!r} in {text!r}")
    last = min(index + max(1, len(plain.split())), len(words)) - 1
    return words[index][0], words[last][1]
