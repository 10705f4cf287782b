"""Conversations as rows, checked before any model runs: what `AdaptedModel.chat` asks."""

from collections.abc import Mapping, Sequence
from typing import Any

from dept_vl.data.chat import BadChatTemplate, frame_of
from dept_vl.data.tokenizer import Tokenizer
from dept_vl.model import BASE
from dept_vl.serve.named import NamedAdapters
from dept_vl.serve.pictures import check_picture, in_row
from dept_vl.serve.rows import Row, WrongRow, WrongTask, check_presence, described, row_names
from dept_vl.train.evaluate import Decoding

Conversation = str | Sequence[Mapping[str, str]]
"""What the user says, or all turns so far as {"role": ..., "content": ...}, the user's last."""

_NO_LIMIT = 1 << 30  # tokens: a conversation is refused where it does not fit, never cut


def plan_chat(
    conversations: Sequence[Any],
    images: Sequence[Any] | None,
    adapter_names: Sequence[Any] | None,
    adapters: NamedAdapters,
    tokenizer: Tokenizer,
    max_new_tokens: int | None = None,
) -> list[Row]:
    """One row per conversation; its text is the last turn's, in the words of the user. max_new_tokens: of a reply, its
    end token included; None: the adapter's max_target_length.

    Raises: WrongRows, WrongTask, UnknownAdapter; UnsupportedPicture, UnreadableImage.
    """
    names = row_names({"conversations": conversations, "images": images}, adapter_names, adapters)
    rows = []
    for place, name in enumerate(names):
        facts = _chat_facts(name, adapters)
        turns = _turns(place, conversations[place])
        picture = None if images is None else images[place]
        check_presence(place, name, picture, adapters)
        with in_row(place):
            picture = None if picture is None else check_picture(picture)
        try:
            frame = frame_of(tokenizer, turns)
        except BadChatTemplate as error:
            raise WrongRow(place, "conversations", "turns that the model's chat template takes", str(error)) from error
        decoding = Decoding(max_new_tokens or facts["max_target_length"], facts["num_beams"])
        text = turns[-1]["content"].strip()
        rows.append(Row(place, text, picture, name, _NO_LIMIT, decoding, own_cue=True, frame=frame))
    return rows


def _chat_facts(name: str, adapters: NamedAdapters) -> Mapping[str, Any]:
    """Raises: WrongTask."""
    source = adapters.active if name == BASE else name
    facts = None if source is None else adapters.find(source).config["task"]
    if facts is None or not facts.get("chat_template"):
        raise WrongTask(
            f"chat(): wanted an adapter trained in the model's chat template (backbone.chat_template: true), given "
            f"{source!r}, one trained without it; answer() and generate() ask it as it was trained"
        )
    return facts


def _turns(place: int, given: Any) -> list[Mapping[str, str]]:
    """Raises: WrongRow."""
    turns = [{"role": "user", "content": given}] if isinstance(given, str) else given
    wanted = 'a text, or a list of {"role": ..., "content": ...}, texts both'
    if not isinstance(turns, list | tuple) or not turns:
        raise WrongRow(place, "conversations", wanted, described(given))
    for turn in turns:
        good = isinstance(turn, Mapping) and all(isinstance(turn.get(key), str) for key in ("role", "content"))
        if not good:
            raise WrongRow(place, "conversations", wanted, described(turn))
    if turns[-1]["role"] != "user":
        raise WrongRow(place, "conversations", "a last turn of the role user", turns[-1]["role"])
    return list(turns)
