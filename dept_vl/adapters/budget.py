"""How DePT splits the weights of a longer prompt between a shorter prompt and a low-rank pair.

    m d + (s + d) r = l d

with m virtual tokens, d = d_model, s = max_length, and l the length of the prompt whose
budget is kept (100 in the paper). The left side is DePT's number of weights.
"""


class NoBudgetLeft(ValueError):
    """A prompt so long that its rank would be 0."""


def dept_size(*, d_model: int, max_length: int, num_virtual_tokens: int, r: int) -> int:
    """DePT's number of weights."""
    return num_virtual_tokens * d_model + (max_length + d_model) * r


def budget(l: int = 100, *, d_model: int, max_length: int, num_virtual_tokens: int) -> int:  # noqa: E741 (the paper's l)
    """The largest r that keeps DePT within the budget of l tokens; equal to it where the division is even.

    Raises: NoBudgetLeft when not even r = 1 fits.
    """
    r = (l - num_virtual_tokens) * d_model // (max_length + d_model)
    if r < 1 or num_virtual_tokens < 0:
        raise NoBudgetLeft(
            f"budget: wanted 0 <= num_virtual_tokens < l={l} with room for r >= 1, given num_virtual_tokens="
            f"{num_virtual_tokens}, d_model={d_model}, max_length={max_length}; lower one of the two lengths"
        )
    return r
