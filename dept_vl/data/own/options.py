"""Put the options of a multiple-choice question behind it, as VLMEvalKit asks it.

    index  image     question                 A    B     C    D    answer
    7      iVBOR...  What stands on the roof? cat  bird  dog  nan  B

becomes, as `build_prompt` of vlmeval/dataset/image_mcq.py has it (with a column `hint` in front),

    Question: What stands on the roof?
    Options:
    A. cat
    B. bird
    C. dog
    Please select the correct answer from the options above.

The answer is the option's text, which the tool takes for right too, as VQA's normalisation leaves nothing of "A".
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Any

from dept_vl.data.own.bad_rows import BadCell
from dept_vl.data.own.cells import described, is_missing, text_of


def has_options(columns: Sequence[str]) -> bool:
    """Whether a table has columns A and B."""
    return {"A", "B"} <= set(columns)


def choose_among(cells: Mapping[str, Any], question: str, answer: Any, *, delimited: bool) -> tuple[str, str]:
    """The question with hint and options, and the option that is its answer. Raises: BadCell."""
    given = {name: cells.get(name) for name in string.ascii_uppercase if name in cells}
    options = {name: str(value).strip() for name, value in given.items() if not is_missing(value, delimited=delimited)}
    letter = text_of(answer, "answers", delimited=delimited)
    if letter not in options:
        raise BadCell("answers", f"one of {', '.join(options) or 'the options (there are none)'}", described(answer))
    hint = cells.get("hint")
    before = "" if is_missing(hint, delimited=delimited) else f"Hint: {str(hint).strip()}\n"
    listed = "".join(f"{name}. {text}\n" for name, text in options.items())
    asked = f"{before}Question: {question}\nOptions:\n{listed}Please select the correct answer from the options above."
    return asked, options[letter]
