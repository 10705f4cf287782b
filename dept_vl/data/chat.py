"""A chat model's own template as the frame of a row: its text is the user's turn, the target the model's answer.

    before text after  ->  lead answer end
    <|im_start|>user text <|im_end|> <|im_start|>assistant  ->  answer <|im_end|>        (and line breaks between them)

before, after and end are read off the template once, with marks in place of the texts, so that every row has the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dept_vl.data.tokenizer import Tokenizer
from dept_vl.untrusted.bad_file import reason_of

Frame = tuple[str, str]
"""What stands in front of a text and behind it."""

_ASKED, _ANSWERED = "A-text-that-is-asked", "A-text-that-answers"


class BadChatTemplate(ValueError):
    """A tokenizer without a chat template, or one that a single question and answer cannot be read off."""


@dataclass(frozen=True)
class Turn:
    """before, after: what the template puts around the user's text, special tokens spelt out. lead: white space between
    that and the answer. end: the id of the token that ends the model's turn."""

    before: str
    after: str
    lead: str
    end: int


def turn_of(tokenizer: Tokenizer) -> Turn:
    """Raises: BadChatTemplate."""
    asked = {"role": "user", "content": _ASKED}
    question = render(tokenizer, [asked], add_generation_prompt=True)
    whole = render(tokenizer, [asked, {"role": "assistant", "content": _ANSWERED}])
    before, after = _around(tokenizer, question, _ASKED)
    spoken, tail = _around(tokenizer, whole, _ANSWERED)
    lead = spoken[len(question) :] if spoken.startswith(question) else ""
    if lead.strip():  # such as an empty thought, which is then the template's and not the answer's
        after, lead = after + lead, ""
    return Turn(before, after, lead, _end(tokenizer, tail))


def frame_of(tokenizer: Tokenizer, messages: Sequence[Mapping[str, str]]) -> Frame:
    """What the template puts around the last message's text, with all earlier turns in front of it and what asks the
    model to speak behind it. Of a single message of the user it is the frame of `turn_of`. Raises: BadChatTemplate."""
    asked = [*messages[:-1], {**messages[-1], "content": _ASKED}]
    before, after = _around(tokenizer, render(tokenizer, asked, add_generation_prompt=True), _ASKED)
    whole = turn_of(tokenizer).after  # with what the template itself says before an answer, such as an empty thought
    return before, whole if whole.startswith(after) else after


def render(tokenizer: Tokenizer, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = False) -> str:
    """The conversation as the model reads it. Raises: BadChatTemplate."""
    if not tokenizer.chat_template:
        raise BadChatTemplate(f"{tokenizer.name_or_path}: wanted a tokenizer with a chat template, given one without")
    try:
        return tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=add_generation_prompt
        )
    except Exception as error:  # a stranger's template raises what it likes
        reason = reason_of(error)
        raise BadChatTemplate(
            f"{tokenizer.name_or_path}: wanted a chat template for {len(messages)} turns, given one that ends in: "
            f"{reason}"
        ) from error


def _around(tokenizer: Tokenizer, text: str, mark: str) -> tuple[str, str]:
    if text.count(mark) != 1:
        raise BadChatTemplate(
            f"{tokenizer.name_or_path}: wanted a chat template that shows each turn once, given one that shows "
            f"{mark!r} {text.count(mark)} times"
        )
    before, _, after = text.partition(mark)
    return before, after


def _end(tokenizer: Tokenizer, tail: str) -> int:
    special = {id for id, token in tokenizer.added_tokens_decoder.items() if token.special}
    for id in tokenizer(tail, add_special_tokens=False)["input_ids"]:
        if id in special:
            return id
    raise BadChatTemplate(
        f"{tokenizer.name_or_path}: wanted a chat template that ends the model's turn with a special token, given "
        f"{tail!r:.80} behind it"
    )
