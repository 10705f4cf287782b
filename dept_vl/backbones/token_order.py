"""The orders in which a backbone can read the prompt, the text and an image's visual tokens.

    seq2seq   prompt, text, visual    as published with CLIP-T5; an encoder reads both ways, so any order will do
    causal    prompt, visual, text    the text, which ends in the answer's cue, has to know the image, and a token reads
                                      only what stands before it; so the prompt's keys and values are the same in all
                                      rows, and an image's in all rows about it
              visual, prompt, text    LLaVA's: the image in front of everything

Where there is no image it is prompt, text in all of them.
"""

from collections.abc import Sequence

TokenOrder = tuple[str, str, str]

TOKEN_ORDERS: dict[str, tuple[TokenOrder, ...]] = {
    "seq2seq": (("prompt", "text", "visual"), ("prompt", "visual", "text"), ("visual", "prompt", "text")),
    "causal": (("prompt", "visual", "text"), ("visual", "prompt", "text")),
}
"""By kind of backbone; the first is what "auto" stands for."""


class WrongOrder(ValueError):
    """An order that is none, or in which the backbone could not read the image before it answers."""


def token_order(kind: str, given: Sequence[str] | None = None) -> TokenOrder:
    """The order that a backbone of this kind reads; None: its usual one. Raises: WrongOrder."""
    orders = TOKEN_ORDERS[kind]
    if given is None:
        return orders[0]
    for order in orders:
        if order == tuple(given):
            return order
    why = ""
    if tuple(given) in TOKEN_ORDERS["seq2seq"]:
        why = (
            ": a decoder-only model reads from left to right, so the text, which ends in the answer's cue, would stand "
            "before the image and know nothing of it"
        )
    wanted = " or ".join(map(",".join, orders))
    raise WrongOrder(f"wanted {wanted} for a {kind} backbone, given {','.join(map(str, given))}{why}")
