"""Text to token ids, once: every source and target is tokenised at the start and kept as flat int32."""

from collections.abc import Iterable, Sequence

import numpy as np
from transformers import AutoTokenizer
from transformers import PreTrainedTokenizerBase as Tokenizer

from dept_vl.assets import embedded

Rows = Sequence[int] | np.ndarray


class MissingTokenizer(ValueError):
    """A tokenizer that is neither a folder here, nor in the cache, nor to be had."""


def load_tokenizer(name_or_path: str, revision: str | None = None) -> Tokenizer:
    """The tokenizer that belongs to a backbone, by the same name. Raises: MissingTokenizer."""
    try:
        return AutoTokenizer.from_pretrained(embedded(name_or_path) or name_or_path, revision=revision)
    except (OSError, ValueError) as error:
        raise MissingTokenizer(
            f"{name_or_path}: wanted a folder with tokenizer files, or a model name that the hub or the local cache "
            f"has. {str(error).splitlines()[0]}"
        ) from error


class TokenTable:
    """Rows of token ids of any length, in one flat int32 array. `cut` counts rows that were longer than allowed."""

    def __init__(self, rows: Iterable[Sequence[int]], cut: int = 0) -> None:
        rows = list(rows)
        self.lengths = np.fromiter(map(len, rows), dtype=np.int32, count=len(rows))
        self._ends = np.cumsum(self.lengths, dtype=np.int64)
        self._flat = (
            np.concatenate([np.asarray(row, dtype=np.int32) for row in rows]) if rows else np.empty(0, np.int32)
        )
        self.cut = cut

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, row: int | np.integer) -> np.ndarray:
        end = self._ends[row]
        return self._flat[end - self.lengths[row] : end]

    def padded(self, rows: Rows, fill: int) -> np.ndarray:
        """Those rows, right-padded with `fill` to the longest of them: int64 [len(rows), longest]."""
        out = np.full((len(rows), int(self.lengths[rows].max())), fill, dtype=np.int64)
        for place, row in enumerate(rows):
            out[place, : self.lengths[row]] = self[row]
        return out


def tokenise(tokenizer: Tokenizer, texts: Sequence[str], max_length: int) -> TokenTable:
    """Token ids of every text, end-of-sequence token included. A text longer than `max_length` tokens keeps its first
    `max_length - 1` and the end token; `cut` counts those."""
    if not texts:
        return TokenTable([])
    encoded = tokenizer(list(texts), add_special_tokens=True, truncation=False, verbose=False)["input_ids"]
    cut = sum(len(row) > max_length for row in encoded)
    return TokenTable((row if len(row) <= max_length else [*row[: max_length - 1], row[-1]] for row in encoded), cut)
