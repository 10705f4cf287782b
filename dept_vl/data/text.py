"""Text to token ids, once: every source and target is tokenised at the start and kept as flat int32.

    seq2seq   source: text </s>              target: answer </s>
    causal    source: <s> text Label :       target: answer </s>     (<s> only where the tokenizer sets one itself)
              source: <s> text               of tasks whose text ends in a cue of its own ("... Answer:", "Caption:")
    chat      source: the text as the user's turn of the model's template     target: answer, end of the turn

A source that is too long loses its context first, from the context's end. What the tokenizer sets around a text and
the causal cue are never cut; a causal model's target is never cut either.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import Literal

import numpy as np
import tokenizers
from tokenizers import Encoding

from dept_vl.data.chat import Frame, turn_of
from dept_vl.data.token_cache import kept
from dept_vl.data.token_table import TokenTable
from dept_vl.data.tokenizer import Tokenizer, WrongTokenizer, require_fast

Kind = Literal["seq2seq", "causal", "chat"]
Span = tuple[int, int]  # characters [start, end) of a text

CUE = " Label :"
"""What a causal model reads before it answers. The DePT authors' GPT-2 and LLaMA path puts " Label : " behind the
source; its last space goes to the target here, because BPE joins a space to the word that follows it."""

_PART = 1000  # texts at a time: the tokenizer's own record of a text is far larger than its ids


class NoRoom(ValueError):
    """A maximum length with no room for the tokens that are never cut."""


class TooLongTarget(ValueError):
    """A target that is too long for a causal model, whose targets are never cut."""


def tokenise(
    tokenizer: Tokenizer,
    texts: Sequence[str],
    max_length: int,
    *,
    kind: Kind = "seq2seq",
    contexts: Sequence[Span | None] | None = None,
    frames: Sequence[Frame | None] | None = None,
    own_cue: bool = False,
) -> TokenTable:
    """Token ids of every source. One with more than `max_length` tokens loses as many as are over: from the end of its
    context, then from the end of what is left of the text. The table counts those; in a chat template its `spans` say
    where each row has its text.

    contexts: the characters of each text that go first; None, for one or all, cuts the text's end. frames: what stands
    around each text where that is more than usual, as earlier turns or demonstrations; None, for one or all, is usual.
    own_cue: whether each text ends in its own cue for the answer, so that a causal model reads no other behind it.

    Raises: SlowTokenizer, NoRoom, BadChatTemplate.
    """
    turn = turn_of(tokenizer) if kind == "chat" else None
    usual = ("", CUE if kind == "causal" and not own_cue else "") if turn is None else (turn.before, turn.after)
    behind = _specials_behind(tokenizer) if kind == "causal" else 0
    contexts = [None] * len(texts) if contexts is None else contexts
    frames = frames if any(frames or ()) else None
    around = [usual] * len(texts) if frames is None else [usual if each is None else each for each in frames]
    counts, spans = Counter(), []

    def rows() -> Iterator[list[int]]:
        most = max_length + behind if turn is None else 0  # of longer ones the tokens' characters are asked for
        encodings = _encode(tokenizer, texts, around, special=turn is None, most=most)
        for text, context, frame, encoding in zip(texts, contexts, around, encodings, strict=True):
            ids = encoding.ids[:-behind] if behind else encoding.ids
            over = len(ids) - max_length
            if over > 0 or turn is not None:
                inside, outside = _free_places(encoding, text, context, frame[0])
                first = min([*inside, *outside], default=0)
                spans.append((first, first + max(len(inside) + len(outside) - max(over, 0), 0)))
            if over > 0:
                if over > len(inside) + len(outside):
                    whole = len(ids) - len(inside) - len(outside)
                    held = f"special tokens and the cue {CUE!r}" if kind == "causal" else "special tokens"
                    held = held if turn is None else "tokens of the chat template"
                    raise NoRoom(f"max_source_length: wanted at least {whole}, room for the {held}, given {max_length}")
                gone = {*inside[::-1][:over], *outside[::-1][: max(over - len(inside), 0)]}
                ids = [id for place, id in enumerate(ids) if place not in gone]
                counts["cut"] += 1
                if context is not None:
                    counts["context_cut" if over <= len(inside) else "beyond_context_cut"] += 1
            yield ids

    def make() -> TokenTable:
        table = TokenTable(rows(), counts)
        if turn is not None:
            table.spans = np.array(spans, dtype=np.int64).reshape(-1, 2)
        return table

    cut_first = contexts if any(contexts) else None
    given = usual if frames is None else around
    return kept(make, texts, lambda: (_state(tokenizer), kind, given, behind, max_length, cut_first))


def encode_targets(tokenizer: Tokenizer, strings: Sequence[str], kind: Kind) -> list[list[int]]:
    """Token ids of every target string, the end token last, none cut: as labels and candidates hold them.

    For a causal model these are the string's tokens behind the cue and a space, without special tokens. So LLaMA's
    sentencepiece tokens begin with one space, not with a second one that it sets before every text. In a chat template
    they follow what asks the model to speak, and its own end of a turn is last.

    Raises: SlowTokenizer, WrongTokenizer, BadChatTemplate.
    """
    if kind == "seq2seq":
        return [encoding.ids for encoding in _encode(tokenizer, strings, special=True)]
    if kind == "chat":
        turn = turn_of(tokenizer)
        before, space, end = turn.after, turn.lead, turn.end
    else:
        before, space, end = CUE, " ", tokenizer.eos_token_id
    if end is None:
        raise WrongTokenizer(
            f"{tokenizer.name_or_path}: wanted an end-of-sequence token, given none; set eos_token in its "
            "tokenizer_config.json"
        )
    cue = next(_encode(tokenizer, [before], special=False)).ids
    strings = [f"{space}{text}" for text in strings]
    behind = [encoding.ids for encoding in _encode(tokenizer, strings, repeat((before, "")), special=False)]
    alone = _encode(tokenizer, strings, special=False)  # where the cue's colon takes the space
    return [
        [*(row[len(cue) :] if row[: len(cue)] == cue else other.ids), end]
        for row, other in zip(behind, alone, strict=True)
    ]


def tokenise_targets(
    tokenizer: Tokenizer, strings: Sequence[str], max_length: int, *, kind: Kind, may_cut: bool
) -> TokenTable:
    """`encode_targets` as a table. One with more than `max_length` tokens is cut before its end token and counted where
    it `may_cut`; elsewhere it is an error.

    Raises: SlowTokenizer, WrongTokenizer, TooLongTarget.
    """

    def make() -> TokenTable:
        rows = encode_targets(tokenizer, strings, kind)
        for text, row in zip(strings, rows, strict=True):
            if not may_cut and len(row) > max_length:
                raise TooLongTarget(
                    f"target {text!r}: wanted at most max_target_length={max_length} tokens, the end token included, "
                    f"given {len(row)}; a causal model's targets are not cut: raise task.max_target_length"
                )
        counts = Counter(cut=sum(len(row) > max_length for row in rows))
        cut = (row if len(row) <= max_length else [*row[: max_length - 1], row[-1]] for row in rows)
        return TokenTable(cut, counts)

    around = turn_of(tokenizer) if kind == "chat" else (CUE, tokenizer.eos_token_id)
    return kept(make, strings, lambda: (_state(tokenizer), "target", kind, around, max_length, may_cut))


def _encode(
    tokenizer: Tokenizer,
    texts: Sequence[str],
    frames: Iterable[Frame] | None = None,
    *,
    special: bool,
    most: int | None = None,
) -> Iterator[Encoding]:
    """What `tokenizer(texts, truncation=False).encodings` would hold, each text in its frame, without the lists that it
    makes beside them; of those with more than `most` tokens with the characters that each token stands for, which take
    the tokenizer longer."""
    require_fast(tokenizer)
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = tokenizer.split_special_tokens
    around = repeat(("", "")) if frames is None else iter(frames)
    placed = False  # whether all of a part are asked for with characters, since most of the part before were long
    for start in range(0, len(texts), _PART):
        framed = zip(texts[start : start + _PART], around, strict=False)
        part = [before + text + after for text, (before, after) in framed]
        found = (backend.encode_batch if placed else backend.encode_batch_fast)(part, add_special_tokens=special)
        if most is not None:
            long = [place for place, each in enumerate(found) if len(each) > most]
            if long and not placed:
                again = backend.encode_batch([part[place] for place in long], add_special_tokens=special)
                for place, each in zip(long, again, strict=True):
                    found[place] = each
            placed = 2 * len(long) > len(part)
        yield from found


def _state(tokenizer: Tokenizer) -> tuple[object, ...]:
    """All that decides what it makes of a text. Raises: SlowTokenizer."""
    require_fast(tokenizer)
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return tokenizers.__version__, backend.to_str(), tokenizer.split_special_tokens


def _specials_behind(tokenizer: Tokenizer) -> int:
    """How many special tokens the tokenizer puts behind a text; a causal model must not read an end and then answer."""
    mask = next(_encode(tokenizer, [CUE], special=True)).special_tokens_mask
    return mask[::-1].index(0)


def _free_places(encoding: Encoding, text: str, context: Span | None, before: str = "") -> tuple[list[int], list[int]]:
    """Places of the tokens of `text` that lie in its context, and of its others. Special tokens and what stands before
    and behind the text are neither."""
    first, last = context or (0, 0)
    inside, outside = [], []
    for place, (special, (start, end)) in enumerate(zip(encoding.special_tokens_mask, encoding.offsets, strict=True)):
        start, end = start - len(before), end - len(before)
        if special or start >= len(text) or end > len(text):
            continue
        if start < 0 and (end <= 0 or before[start:].strip()):
            continue
        word = end - len(text[max(start, 0) : end].lstrip())  # a space before a word goes with the word
        (inside if first <= word < last and end <= last else outside).append(place)
    return inside, outside
