"""Answered training examples in front of a question: few-shot prompting of a frozen model (Brown et al. 2020).

    chat      each demonstration an earlier turn of the conversation, with its answer
    causal    text Label : answer <blank line> ... text Label :
    seq2seq   text answer <blank line> ... text

Each question has demonstrations of its own, drawn by (seed, its place) from as many examples as are given.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dept_vl.data.chat import frame_of
from dept_vl.data.text import CUE, Kind
from dept_vl.data.tokenizer import Tokenizer
from dept_vl.tasks.example import Example


class TooFewDemonstrations(ValueError):
    """Fewer examples to draw from than are to stand before a question."""


def demonstrated(
    examples: Sequence[Example], source: Sequence[Example], number: int, seed: int, tokenizer: Tokenizer, kind: Kind
) -> list[Example]:
    """The examples behind `number` others of `source`, each answered by its first target.

    Raises: TooFewDemonstrations, BadChatTemplate.
    """
    if number > len(source):
        given = f"{len(source):,} that are shorter than max_source_length"
        raise TooFewDemonstrations(f"task.num_fewshot: wanted at least {number} training examples, given {given}")
    shown = []
    for place, example in enumerate(examples):
        drawn = np.random.default_rng([seed, place]).choice(len(source), number, replace=False)
        shown.append(replace(example, frame=_frame(example, [source[each] for each in drawn], tokenizer, kind)))
    return shown


def _frame(example: Example, drawn: Sequence[Example], tokenizer: Tokenizer, kind: Kind) -> tuple[str, str]:
    if kind == "chat":
        turns = [(("user", each.source), ("assistant", each.targets[0])) for each in drawn]
        messages = [{"role": role, "content": text} for turn in turns for role, text in turn]
        return frame_of(tokenizer, [*messages, {"role": "user", "content": example.source}])
    cue = CUE if kind == "causal" else ""
    return "".join(f"{each.source}{cue} {each.targets[0]}\n\n" for each in drawn), cue
