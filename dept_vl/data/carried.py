"""Text that a tokenizer does not carry: characters that it has no token for, and text that comes back as another.

What a tokenizer is meant to do is no loss: white space, and lower case, NFKC and the like where it has a normalizer.
An unknown token is one, and so is a character that is gone when the tokens are read back, such as </s> in a text.
"""

import dataclasses
import unicodedata
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dept_vl.data.token_table import Rows, TokenTable
from dept_vl.data.tokenizer import Tokenizer
from dept_vl.registry import DeptVLWarning

WARN_ABOVE = 0.01
"""Share of the different texts above which a loss is a warning."""

_READ_BACK = 1000  # texts without an unknown token that are read back, evenly spread: all would double the start-up
_EXAMPLES, _LOOKED_AT = 3, 50  # examples, and the texts in which different ones are looked for
_LONGEST = 60  # characters of an example


class LostText(ValueError):
    """Texts of which the tokenizer carries none whole."""


@dataclass(frozen=True)
class Loss:
    """texts: how many different ones there are. unknown: those with an unknown token, all of them counted. read_back:
    how many of the others were read back from their tokens, evenly spread, and altered: those of them that came back as
    another text. examples: up to three words, or beginnings of texts, and as what they come back."""

    texts: int
    unknown: int
    read_back: int
    altered: int
    examples: tuple[tuple[str, str], ...]

    @property
    def share(self) -> float:
        """Of the different texts, as a fraction."""
        others = self.texts - self.unknown
        return (self.unknown + (self.altered / self.read_back * others if self.read_back else 0)) / max(self.texts, 1)

    @property
    def total(self) -> bool:
        """Whether no text survives."""
        return self.texts > 0 and self.unknown + self.altered == self.texts

    def as_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "share": self.share}

    def __str__(self) -> str:
        return f"{100 * self.share:.1f} % of {self.texts:,} are not carried by the tokenizer: {self.shown}"

    @property
    def shown(self) -> str:
        return ", ".join(f"{given!r} comes back as {back!r}" for given, back in self.examples)


def measure(tokenizer: Tokenizer, texts: Sequence[str], unknown: Collection[int] | None = None) -> Loss:
    """The loss of different texts. unknown: the places of those with an unknown token, None to find them."""
    if unknown is None:
        ids, rows = unknown_ids(tokenizer), _encode(tokenizer, texts)
        unknown = [place for place, row in enumerate(rows) if ids.intersection(row)]
    others = np.setdiff1d(np.arange(len(texts)), np.array(list(unknown), dtype=np.int64), assume_unique=True).tolist()
    drawn = (
        [others[place * len(others) // _READ_BACK] for place in range(_READ_BACK)] if others[_READ_BACK:] else others
    )
    altered = _altered(tokenizer, texts, drawn)
    if len(altered) == len(drawn) < len(others):  # whether none survives is not left to a draw
        drawn, altered = others, _altered(tokenizer, texts, others)
    lost = [texts[place] for place in [*list(unknown)[:_LOOKED_AT], *altered[:_LOOKED_AT]]]
    return Loss(len(texts), len(unknown), len(drawn), len(altered), _examples(tokenizer, lost))


def measure_table(tokenizer: Tokenizer, texts: Sequence[str], table: TokenTable, frame: Rows) -> Loss:
    """The loss of different texts whose tokens are in the table. frame: the special tokens around every text (the
    tokens of the empty text); an end token may be the unknown one too, as GPT-2's is."""
    ids = unknown_ids(tokenizer)
    return measure(tokenizer, texts, table.rows_with(ids, more_than=sum(int(id) in ids for id in frame)))


def unknown_ids(tokenizer: Tokenizer) -> set[int]:
    """The ids that stand for what the vocabulary lacks; none for most byte-level tokenizers."""
    backend = tokenizer.backend_tokenizer
    own = getattr(backend.model, "unk_token", None)
    return {tokenizer.unk_token_id, backend.token_to_id(own) if own else None} - {None}


def tell(what: str, loss: Loss, *, above: float = WARN_ABOVE, refuse: bool = False, warn: bool = True) -> None:
    """A warning where more than a share of `what` is lost; an error, if so asked, where none of it survives.

    Raises: LostText.
    """
    if refuse and loss.total:
        raise LostText(
            f"{what}: wanted text that the tokenizer carries, given {loss.texts:,} of which none survives "
            f"({loss.shown}); choose a backbone whose tokenizer has these characters"
        )
    if warn and loss.share > above:
        warnings.warn(f"{what}: {loss}", DeptVLWarning, stacklevel=2)


def survives(text: str, back: str, normal: str | None) -> bool:
    """Whether `back` is `text` but for what the tokenizer is meant to change. normal: the text as its normalizer has
    it, None where it has none."""
    if _bare(back) == _bare(text):
        return True
    if normal is None:
        return False
    return _folded(back) == _folded(text) or (_bare(back) == _bare(normal) and _words(normal) >= _words(text))


def _altered(tokenizer: Tokenizer, texts: Sequence[str], places: Sequence[int]) -> list[int]:
    backs = _read_back(tokenizer, [texts[place] for place in places])
    return [place for place, back in zip(places, backs, strict=True) if not _carries(tokenizer, texts[place], back)]


def _carries(tokenizer: Tokenizer, text: str, back: str) -> bool:
    normalizer = tokenizer.backend_tokenizer.normalizer
    return survives(text, back, None if normalizer is None else normalizer.normalize_str(text))


def _read_back(tokenizer: Tokenizer, texts: Sequence[str]) -> list[str]:
    return tokenizer.backend_tokenizer.decode_batch(_encode(tokenizer, texts), skip_special_tokens=True)


def _encode(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    return [each.ids for each in tokenizer.backend_tokenizer.encode_batch(list(texts), add_special_tokens=False)]


def _examples(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Of each text its first word that is lost by itself, or its beginning."""
    found: dict[str, str] = {}
    for text in texts:
        words = [*text.split(), text]
        pairs = list(zip(words, _read_back(tokenizer, words), strict=True))
        word, back = next((pair for pair in pairs if not _carries(tokenizer, *pair)), pairs[-1])
        found.setdefault(word[:_LONGEST], back.strip()[:_LONGEST])
        if len(found) == _EXAMPLES:
            break
    return tuple(found.items())


def _bare(text: str) -> str:
    """Without white space, which sentencepiece writes as a low bar."""
    return "".join(text.replace("▁", " ").split())


def _folded(text: str) -> str:
    """As NFKC and lower case have it, without characters that show nothing."""
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return "".join(letter for letter in _bare(text) if unicodedata.category(letter) not in ("Cc", "Cf"))


def _words(text: str) -> int:
    """How many letters, digits and pictures there are."""
    kinds = map(unicodedata.category, unicodedata.normalize("NFKC", text))
    return sum(kind[0] in "LN" or kind == "So" for kind in kinds)
