"""Text to token ids, once: every source and target is tokenised at the start and kept as flat int32.

    seq2seq   source: text </s>              target: answer </s>
    causal    source: <s> text Label :       target: answer </s>     (<s> only where the tokenizer sets one itself)
              source: <s> text               of tasks whose text ends in a cue of its own ("... Answer:", "Caption:")

A source that is too long loses its context first, from the context's end. What the tokenizer sets around a text and
the causal cue are never cut; a causal model's target is never cut either.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

from tokenizers import Encoding

from dept_vl.data.token_table import TokenTable
from dept_vl.data.tokenizer import Tokenizer, WrongTokenizer, require_fast

Kind = Literal["seq2seq", "causal"]
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
    own_cue: bool = False,
) -> TokenTable:
    """Token ids of every source. One with more than `max_length` tokens loses as many as are over: from the end of its
    context, then from the end of what is left of the text. The table counts those.

    contexts: the characters of each text that go first; None, for one or all, cuts the text's end. own_cue: whether
    each text ends in its own cue for the answer, so that a causal model reads no other behind it.

    Raises: SlowTokenizer, NoRoom.
    """
    cue = CUE if kind == "causal" and not own_cue else ""
    behind = _specials_behind(tokenizer) if kind == "causal" else 0
    contexts = [None] * len(texts) if contexts is None else contexts
    counts = Counter()

    def rows() -> Iterator[list[int]]:
        encodings = _encode(tokenizer, texts, special=True, cue=cue)
        for text, context, encoding in zip(texts, contexts, encodings, strict=True):
            ids = encoding.ids[:-behind] if behind else encoding.ids
            over = len(ids) - max_length
            if over > 0:
                inside, outside = _free_places(encoding, text, context)
                if over > len(inside) + len(outside):
                    whole = len(ids) - len(inside) - len(outside)
                    held = f"special tokens and the cue {CUE!r}" if cue else "special tokens"
                    raise NoRoom(f"max_source_length: wanted at least {whole}, room for the {held}, given {max_length}")
                gone = {*inside[::-1][:over], *outside[::-1][: max(over - len(inside), 0)]}
                ids = [id for place, id in enumerate(ids) if place not in gone]
                counts["cut"] += 1
                if context is not None:
                    counts["context_cut" if over <= len(inside) else "beyond_context_cut"] += 1
            yield ids

    return TokenTable(rows(), counts)


def encode_targets(tokenizer: Tokenizer, strings: Sequence[str], kind: Kind) -> list[list[int]]:
    """Token ids of every target string, the end token last, none cut: as labels and candidates hold them.

    For a causal model these are the string's tokens behind the cue and a space, without special tokens. So LLaMA's
    sentencepiece tokens begin with one space, not with a second one that it sets before every text.

    Raises: SlowTokenizer, WrongTokenizer.
    """
    if kind == "seq2seq":
        return [encoding.ids for encoding in _encode(tokenizer, strings, special=True)]
    end = tokenizer.eos_token_id
    if end is None:
        raise WrongTokenizer(f"{tokenizer.name_or_path}: wanted an end-of-sequence token, the tokenizer has none")
    cue = next(_encode(tokenizer, [CUE], special=False)).ids
    behind = [encoding.ids for encoding in _encode(tokenizer, [f"{CUE} {text}" for text in strings], special=False)]
    alone = _encode(tokenizer, [f" {text}" for text in strings], special=False)  # where the cue's colon takes the space
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
    rows = encode_targets(tokenizer, strings, kind)
    for text, row in zip(strings, rows, strict=True):
        if not may_cut and len(row) > max_length:
            raise TooLongTarget(
                f"target {text!r}: wanted at most max_target_length={max_length} tokens, the end token included, given "
                f"{len(row)}; a causal model's targets are not cut: raise task.max_target_length"
            )
    counts = Counter(cut=sum(len(row) > max_length for row in rows))
    return TokenTable((row if len(row) <= max_length else [*row[: max_length - 1], row[-1]] for row in rows), counts)


def _encode(tokenizer: Tokenizer, texts: Sequence[str], *, special: bool, cue: str = "") -> Iterator[Encoding]:
    """What `tokenizer(texts, truncation=False).encodings` would hold, without the lists that it makes beside them."""
    require_fast(tokenizer)
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = tokenizer.split_special_tokens
    for start in range(0, len(texts), _PART):
        part = [text + cue for text in texts[start : start + _PART]]
        yield from backend.encode_batch(part, add_special_tokens=special)


def _specials_behind(tokenizer: Tokenizer) -> int:
    """How many special tokens the tokenizer puts behind a text; a causal model must not read an end and then answer."""
    mask = next(_encode(tokenizer, [CUE], special=True)).special_tokens_mask
    return mask[::-1].index(0)


def _free_places(encoding: Encoding, text: str, context: Span | None) -> tuple[list[int], list[int]]:
    """Places of the tokens of `text` that lie in its context, and of its others. Special tokens and cue are neither."""
    first, last = context or (0, 0)
    inside, outside = [], []
    for place, (special, (start, end)) in enumerate(zip(encoding.special_tokens_mask, encoding.offsets, strict=True)):
        if special or start >= len(text) or end > len(text):
            continue
        word = end - len(text[start:end].lstrip())  # a space before a word goes with the word
        (inside if first <= word < last and end <= last else outside).append(place)
    return inside, outside
