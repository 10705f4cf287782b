"""Take a conversation about a picture apart into questions and answers.

    LLaVA      [{"from": "human", "value": "<image>\\nWhat is it?"}, {"from": "gpt", "value": "A tram."}, ...]
    messages   [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]},
                {"role": "assistant", "content": "A tram."}, ...]
    nanoVLM    [{"user": "What is it?", "assistant": "A tram."}, ...]

Each pair of turns becomes a question and its answer, asked without the turns before it. System turns are left out and
counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dept_vl.data.own.bad_rows import BadCell
from dept_vl.data.own.cells import described, is_missing

PLACEHOLDER = "<image>"
_ASKS, _ANSWERS = ("human", "user"), ("gpt", "assistant", "model", "chatgpt", "bard")
_PICTURE_PARTS = ("image", "image_url", "input_image")
_PICTURE_KEYS = ("image", "path", "image_url", "url")


@dataclass(frozen=True)
class Turns:
    """pairs: question ("" where a turn has the picture alone) and answer. pictures: those that stand in the turns
    themselves. systems: how many system turns were left out."""

    pairs: tuple[tuple[str, str], ...]
    pictures: tuple[Any, ...]
    systems: int


@dataclass
class _Turn:
    role: str
    text: str
    marks: int = 0  # places of a picture
    needs_mark: bool = False  # a form in which a picture without its place is not shown to a model
    pictures: tuple[Any, ...] = ()


def turns_of(value: Any) -> Turns:
    """Raises: BadCell for turns that are not by turns, for none or several pictures, or for another form."""
    if not isinstance(value, list | tuple) or not value:
        raise BadCell("turns", "a list of turns", described(value))
    turns = [turn for number, each in enumerate(value, 1) for turn in _read(each, number)]
    spoken = [turn for turn in turns if turn.role != "system"]
    pairs = []
    for number, turn in enumerate(spoken, 1):
        wanted = "user" if number % 2 else "assistant"
        if turn.role != wanted:
            raise BadCell("turns", "questions and answers by turns", f"{turn.role} as turn {number} of {len(spoken)}")
        if turn.role == "assistant":
            pairs.append((spoken[number - 2].text, turn.text))
    if not pairs or len(spoken) % 2:
        raise BadCell("turns", "an answer to each question", f"none to the last of {len(spoken)} turns")
    marks = sum(turn.marks for turn in turns)
    if marks > 1:
        raise BadCell("image", "one image a row", f"{marks} in its turns")
    if not marks and any(turn.needs_mark for turn in turns):
        raise BadCell("turns", f"{PLACEHOLDER} (or a part of type image) in one turn", "none in any")
    pictures = tuple(picture for turn in turns for picture in turn.pictures)
    return Turns(tuple(pairs), pictures, len(turns) - len(spoken))


def _read(turn: Any, number: int) -> Iterator[_Turn]:
    match turn:
        case {"from": str(role), "value": str(text)}:
            yield _Turn(_role(role, number), without_placeholder(text), text.count(PLACEHOLDER), needs_mark=True)
        case {"role": str(role), "content": str(text)}:
            yield _Turn(_role(role, number), without_placeholder(text), text.count(PLACEHOLDER))
        case {"role": str(role), "content": list(parts)}:
            yield _typed(_role(role, number), parts, number)
        case {"user": str(question), "assistant": str(answer)}:
            yield _Turn("user", without_placeholder(question), question.count(PLACEHOLDER))
            yield _Turn("assistant", without_placeholder(answer))
        case _:
            wanted = "{from, value}, {role, content} or {user, assistant} as turn " + str(number)
            raise BadCell("turns", wanted, described(turn))


def _role(name: str, number: int) -> str:
    role = name.strip().lower()
    if role in _ASKS:
        return "user"
    if role in _ANSWERS:
        return "assistant"
    if role == "system":
        return role
    raise BadCell("turns", f"{', '.join((*_ASKS, *_ANSWERS, 'system'))} in turn {number}", repr(name))


def _typed(role: str, parts: list[Any], number: int) -> _Turn:
    texts: list[str] = []
    pictures: list[Any] = []
    marks = 0
    for part in parts:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind in _PICTURE_PARTS:
            marks += 1
            pictures.extend(_picture(part))
        elif isinstance(part, str) or (kind in ("text", "input_text") and isinstance(part.get("text"), str)):
            texts.append(part if isinstance(part, str) else part["text"])
        else:
            raise BadCell("turns", f"parts of type text or image in turn {number}", described(part))
    text = " ".join(texts)
    marks = marks or text.count(PLACEHOLDER)  # a place beside its picture says the same twice
    return _Turn(role, without_placeholder(text), marks, needs_mark=role == "user", pictures=tuple(pictures))


def _picture(part: Mapping[str, Any]) -> Iterator[Any]:
    """What the part holds of its picture; nothing where it only marks the place."""
    for key in _PICTURE_KEYS:
        value = part.get(key)
        if isinstance(value, Mapping) and "url" in value:  # {"image_url": {"url": "data:image/png;base64,..."}}
            value = value["url"]
        if not is_missing(value):
            yield value
            return


def without_placeholder(text: str) -> str:
    """The text without <image>, stripped."""
    return text.replace(PLACEHOLDER, " ").strip()
