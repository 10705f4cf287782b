"""What an adapter is: a function from embedded text and its mask to what the frozen model reads.

    adapter(embeds [batch, seq, d_model], mask [batch, seq])
        -> (embeds [batch, out, d_model], mask [batch, out])

Its only state is its weights, which stay fp32 whatever the compute dtype. Every adapter here folds to one
pair: a prompt that stands before the text, and a shift whose row i is added to the text's i-th real token.
"""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Integer
from torch import Tensor, nn

from dept_vl.registry import Registry

TextMask = Integer[Tensor, "batch seq"] | Bool[Tensor, "batch seq"]  # not 0 = a real token
OutMask = Integer[Tensor, "batch out"] | Bool[Tensor, "batch out"]
OutEmbeds = Float[Tensor, "batch out d_model"]


class BadAdapterSize(ValueError):
    """A number of tokens, a rank or a length that an adapter cannot have."""


class TooFewInitRows(ValueError):
    """Fewer start vectors than virtual tokens."""


class WrongInputs(ValueError):
    """Embeddings or a mask that do not fit the adapter."""


def check_size(method: str, name: str, value: object, *, minimum: int, why: str = "") -> None:
    """Raises: BadAdapterSize unless `value` is an integer >= minimum."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise BadAdapterSize(
            f"{method}: wanted {name} to be an integer >= {minimum}, given {value!r}{why and f' ({why})'}"
        )


def check_inputs(embeds: Tensor, mask: Tensor, token_dim: int) -> None:
    """Raises: WrongInputs unless embeds is [batch, seq, token_dim] and mask [batch, seq]."""
    if embeds.ndim != 3 or embeds.shape[2] != token_dim:
        raise WrongInputs(
            f"wanted embeds [batch, seq, {token_dim}] (the adapter's token_dim), given {list(embeds.shape)}: "
            "the adapter was made for a backbone of another width"
        )
    if mask.shape != embeds.shape[:2]:
        raise WrongInputs(f"wanted a mask {list(embeds.shape[:2])} as the embeds have it, given {list(mask.shape)}")


def first_rows(method: str, init: Float[Tensor, "rows d_model"], num: int) -> Float[Tensor, "prompt d_model"]:
    """The first `num` rows of `init` as an fp32 copy, so that training never writes to an embedding table.

    Raises: TooFewInitRows.
    """
    if init.shape[0] < num:
        raise TooFewInitRows(
            f"{method}: num_virtual_tokens={num} wants an init of at least {num} rows, given {init.shape[0]}"
            "; give more rows (dept_vl.adapters.initialise has several) or lower num_virtual_tokens"
        )
    return init[:num].detach().to(torch.float32, copy=True)


def full_precision(device: torch.device) -> AbstractContextManager:
    """No autocast inside: a trained prompt's entries reach 10^2, where bf16 has steps of 0.5."""
    if not torch.amp.is_autocast_available(device.type):  # the meta device, for one
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def content_rows(mask: TextMask, num_rows: int) -> Integer[Tensor, "batch seq"]:
    """Each token's row in a shift of `num_rows` rows: its content position, whatever side the padding is on.

    Pads and tokens at or beyond `num_rows` get the row `num_rows`, which the caller keeps zero.
    """
    real = mask != 0
    position = real.cumsum(dim=1) - 1  # [batch, seq], 0 at the first real token
    return torch.where(real & (position < num_rows), position, num_rows)


def add_shift(
    embeds: Float[Tensor, "batch seq d_model"], mask: TextMask, shift: Float[Tensor, "rows d_model"]
) -> Float[Tensor, "batch seq d_model"]:
    """Embeds plus the shift's row of each real token, in the wider of the two dtypes."""
    shift = shift[: embeds.shape[1]]  # no content position reaches seq
    table = F.pad(shift, (0, 0, 0, 1))  # [rows + 1, d_model], the last row is zero
    rows = content_rows(mask, shift.shape[0])
    return embeds + F.embedding(rows, table, padding_idx=shift.shape[0])  # padding_idx: no gradient is gathered there


def prepend(
    prompt: Float[Tensor, "prompt d_model"],
    text: Float[Tensor, "batch seq d_model"],
    mask: TextMask,
    dtype: torch.dtype,
) -> tuple[OutEmbeds, OutMask]:
    """The prompt in front of every row, and ones in front of the mask. The one cast, to `dtype`, is here."""
    batch, num = text.shape[0], prompt.shape[0]
    prompt = prompt.to(dtype).expand(batch, -1, -1)  # [batch, prompt, d_model]
    return torch.cat([prompt, text.to(dtype)], dim=1), torch.cat([mask.new_ones(batch, num), mask], dim=1)


@dataclass(frozen=True, eq=False)
class Folded:
    """What every adapter of this family comes to: constants, detached from the adapter's weights."""

    prompt: Float[Tensor, "prompt d_model"]
    shift: Float[Tensor, "seq d_model"] | None  # None: the text is read as it is

    def __call__(self, embeds: Float[Tensor, "batch seq d_model"], mask: TextMask) -> tuple[OutEmbeds, OutMask]:
        check_inputs(embeds, mask, self.prompt.shape[1])
        text = embeds if self.shift is None else add_shift(embeds, mask, self.shift)
        return prepend(self.prompt, text, mask, embeds.dtype)


class Adapter(nn.Module, ABC):
    """The contract. It knows nothing of images, tokenizers, tasks, backbones or configs."""

    num_virtual_tokens: int
    token_dim: int
    trained_length: int | None = None
    """Rows of the shift that training reached, in real tokens, as the training loop records it. Later rows
    count as zero in evaluation mode and when folded; None: all rows count."""

    @abstractmethod
    def forward(self, embeds: Float[Tensor, "batch seq d_model"], mask: TextMask) -> tuple[OutEmbeds, OutMask]:
        """Writes to neither argument. Differentiable in evaluation mode too. Raises: WrongInputs."""

    @abstractmethod
    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        """Every weight in exactly one group, no group empty; the names are the learning rates' keys."""

    @abstractmethod
    def fold(self) -> Folded:
        """The pair that does what this adapter does in evaluation mode, as fp32 copies."""

    @abstractmethod
    def config(self) -> dict[str, int | float | None]:
        """The constructor's arguments, token_dim and trained_length, for JSON; see `from_config`."""

    def diagnostics(self) -> dict[str, float | int]:
        """Numbers worth a place on the log's lines while it trains; most adapters have none."""
        return {}


ADAPTERS: Registry[type[Adapter]] = Registry("adapter")
