"""What a user is told of texts that the model does not read whole."""

import warnings
from collections.abc import Callable

from dept_vl.data.carried import Loss, tell
from dept_vl.registry import DeptVLWarning

Notice = Callable[[int, int, int, Loss], None]
"""notice(texts, max_source_length, cut, loss), for each batch: how many texts it has, how many of the different ones
were cut to so many tokens, and what of them the tokenizer does not carry."""


def warn_of_texts(texts: int, max_source_length: int, cut: int, loss: Loss) -> None:
    if cut:
        warnings.warn(
            f"{cut} of {texts} texts have more than max_source_length={max_source_length} tokens: their contexts, or "
            "their ends, were cut",
            DeptVLWarning,
            stacklevel=6,
        )
    tell("texts", loss, above=0.0)
