"""What an adapter is: for embedded text, which prompt stands in front of it and what is added to it.

    adapter.pair(text) -> Pair(prompt [prompt, d_model], shift [rows, d_model] or None)

A method writes `pair` and `param_groups`; everything else is derived here. Row i of a shift is added to the text's
i-th real token. A pair that depends on the text may instead have a prompt for each row, [batch, prompt, d_model], and
a shift for each token, [batch, seq, d_model].
"""

import functools
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from dept_vl.adapters.start import WrongSource, copy_weights
from dept_vl.part import Part, full_precision
from dept_vl.registry import Registry, arguments_of, check_integer

TextEmbeds = Float[Tensor, "batch seq d_model"]
TokenIds = Integer[Tensor, "batch seq"]
Tasks = Integer[Tensor, " batch"]
TextMask = Integer[Tensor, "batch seq"] | Bool[Tensor, "batch seq"]  # not 0 = a real token
OutMask = Integer[Tensor, "batch out"] | Bool[Tensor, "batch out"]
OutEmbeds = Float[Tensor, "batch out d_model"]
Rows = Float[Tensor, "rows d_model"]
Prompt = Float[Tensor, "prompt d_model"] | Float[Tensor, "batch prompt d_model"]  # for all rows, or for each
Shift = Rows | Float[Tensor, "batch seq d_model"]  # by content position, or for each token


class BadAdapterSize(ValueError):
    """A number of tokens, a rank or a length that an adapter cannot have."""


class TooFewInitRows(ValueError):
    """Fewer start vectors than virtual tokens."""


class WrongInputs(ValueError):
    """Embeddings or a mask that do not fit the adapter."""


@dataclass(frozen=True, eq=False)
class Text:
    """What an adapter may read. ids: of the tokens. tasks: the place of each row's task in the mixture that trains, or
    None where one task does. covered: not 0 at the tokens that a shift counts and reaches, None for the real ones."""

    embeds: TextEmbeds
    mask: TextMask
    ids: TokenIds | None = None
    tasks: Tasks | None = None
    covered: TextMask | None = None

    def own_tasks(self, method: str) -> Tasks:
        """`tasks`, for a method of several. Raises: WrongInputs where the rows name none."""
        if self.tasks is None:
            raise WrongInputs(
                f"{method}: wanted each row's task, given none: the folder of a task below the run's serves that task "
                "alone"
            )
        return self.tasks


class Pair(NamedTuple):
    """What is put in front of the text, and what is added to it."""

    prompt: Prompt
    shift: Shift | None = None


check_size = functools.partial(check_integer, BadAdapterSize)
"""check_size(method, name, value, minimum=1, why="") raises BadAdapterSize unless `value` is an integer >= minimum."""


def check_inputs(embeds: Tensor, mask: Tensor, token_dim: int) -> None:
    """Raises: WrongInputs unless embeds is [batch, seq, token_dim] and mask [batch, seq]."""
    if embeds.ndim != 3 or embeds.shape[2] != token_dim:
        raise WrongInputs(
            f"wanted embeds [batch, seq, {token_dim}] (the adapter's token_dim), given {list(embeds.shape)}: "
            "the adapter was made for a backbone of another width"
        )
    if mask.shape != embeds.shape[:2]:
        raise WrongInputs(f"wanted a mask {list(embeds.shape[:2])} as the embeds have it, given {list(mask.shape)}")


def first_rows(
    method: str, init: Rows, num: int, *, what: str = "num_virtual_tokens"
) -> Float[Tensor, "prompt d_model"]:
    """The first `num` rows of `init` as an fp32 copy, so that training never writes to an embedding table.

    Raises: TooFewInitRows.
    """
    if init.shape[0] < num:
        raise TooFewInitRows(
            f"{method}: {what}={num} wants an init of at least {num} rows, given {init.shape[0]}"
            f"; give more rows (dept_vl.adapters.initialise has several) or lower {what}"
        )
    return init[:num].detach().to(torch.float32, copy=True)


def content_rows(mask: TextMask, num_rows: int) -> Integer[Tensor, "batch seq"]:
    """Each token's row in a shift of `num_rows` rows: its content position, whatever side the padding is on.

    Pads and tokens at or beyond `num_rows` get the row `num_rows`, which the caller keeps zero.
    """
    real = mask != 0
    position = real.cumsum(dim=1) - 1  # [batch, seq], 0 at the first real token
    return torch.where(real & (position < num_rows), position, num_rows)


def add_shift(embeds: TextEmbeds, mask: TextMask, shift: Shift) -> TextEmbeds:
    """Embeds plus the shift of each real token, in the wider of the two dtypes, on the device of the embeds."""
    shift = shift.to(embeds.device)
    if shift.ndim == 3:
        return embeds + shift * (mask != 0).unsqueeze(-1)
    if not torch.compiler.is_exporting():  # a graph would hold for lengths on the example's side of the cut alone
        shift = shift[: embeds.shape[1]]  # no content position reaches seq
    table = F.pad(shift, (0, 0, 0, 1))  # [rows + 1, d_model], the last row is zero
    rows = content_rows(mask, shift.shape[0])
    return embeds + F.embedding(rows, table, padding_idx=shift.shape[0])  # padding_idx: no gradient is gathered there


def prepend(prompt: Prompt, text: TextEmbeds, mask: TextMask, dtype: torch.dtype) -> tuple[OutEmbeds, OutMask]:
    """The prompt in front of every row, and ones in front of the mask. The one cast, to `dtype`, is here."""
    batch, num = text.shape[0], prompt.shape[-2]
    prompt = prompt.to(text.device, dtype).expand(batch, -1, -1)  # [batch, prompt, d_model]
    return torch.cat([prompt, text.to(dtype)], dim=1), torch.cat([mask.new_ones(batch, num), mask], dim=1)


def apply_pair(pair: Pair, text: Text) -> tuple[OutEmbeds, OutMask]:
    """The shifted text behind its prompt, in the text's dtype."""
    covered = text.mask if text.covered is None else text.covered
    shifted = text.embeds if pair.shift is None else add_shift(text.embeds, covered, pair.shift)
    return prepend(pair.prompt, shifted, text.mask, text.embeds.dtype)


@dataclass(frozen=True, eq=False)
class Folded:
    """A pair that does not depend on the text, as constants: fp32, detached from the adapter's weights."""

    prompt: Float[Tensor, "prompt d_model"]
    shift: Rows | None  # None: the text is read as it is

    @property
    def num_virtual_tokens(self) -> int:
        return self.prompt.shape[0]

    @property
    def token_dim(self) -> int:
        return self.prompt.shape[1]

    def __call__(
        self,
        embeds: TextEmbeds,
        mask: TextMask,
        ids: Tensor | None = None,
        tasks: Tensor | None = None,
        covered: TextMask | None = None,
    ) -> tuple[OutEmbeds, OutMask]:
        check_inputs(embeds, mask, self.token_dim)
        return apply_pair(Pair(self.prompt, self.shift), Text(embeds, mask, covered=covered))


class Adapter(Part):
    """The contract. It knows nothing of images, tokenizers, tasks, backbones or configs.

    A constructor is `(init, *, plain arguments, generator=None)` and keeps each argument as an attribute of its name,
    and `token_dim`. Weights stay fp32 whatever the compute dtype; nothing is written in place. Frozen tensors
    that the arguments cannot rebuild are buffers, so they are saved beside the trained weights.
    """

    published: ClassVar[Mapping[str, Any] | None] = None  # the arguments of the paper's main results on T5-base
    reads_text: bool = False  # whether the pair depends on the text or its task, so that there is nothing to fold
    mixes_sources: ClassVar[bool] = False  # whether `init` holds several frozen prompts of other tasks, concatenated
    distillation: ClassVar[float | None] = None  # the weight of teachers in the loss; None: the method has none
    sources: tuple[str, ...] = ()  # the sha256 of each of those prompts, where whoever built it knows them
    num_virtual_tokens: int
    token_dim: int

    @classmethod
    def start_rows(cls, arguments: Mapping[str, Any]) -> int:
        """How many rows of `init` an adapter of these arguments may use; a bad number is the constructor's to name."""
        num = arguments.get("num_virtual_tokens")
        return max(num, 0) if isinstance(num, int) else 0

    @abstractmethod
    def pair(self, text: Text | None) -> Pair:
        """The prompt and the shift for `text`, which is None where the adapter does not read it. No autocast acts."""

    def forward(
        self,
        embeds: TextEmbeds,
        mask: TextMask,
        ids: TokenIds | None = None,
        tasks: Tasks | None = None,
        covered: TextMask | None = None,
    ) -> tuple[OutEmbeds, OutMask]:
        """Writes to no argument. Differentiable in evaluation mode too. Raises: WrongInputs."""
        check_inputs(embeds, mask, self.token_dim)
        text = Text(embeds, mask, ids, tasks, covered)
        with full_precision(embeds.device):
            pair = self.pair(text if self.reads_text else None)
        return apply_pair(pair, text)

    @torch.no_grad()
    def fold(self) -> Folded | None:
        """What this adapter does in evaluation mode, as fp32 copies; None where it reads the text."""
        if self.reads_text:
            return None
        training, weight = self.training, next(self.parameters(), torch.empty(0))
        self.eval()
        try:
            with full_precision(weight.device):
                prompt, shift = self.pair(None)
        finally:
            self.train(training)
        return Folded(prompt.float().clone(), None if shift is None else shift.float().clone())

    def config(self) -> dict[str, Any]:
        """The constructor's arguments by name, for JSON; with `token_dim` they rebuild the adapter's shape."""
        return {name: getattr(self, name) for name in arguments_of(type(self))}

    def start_from(self, source: "Adapter") -> tuple[str, ...]:
        """Copies from `source` the weights that both have; returns what was not copied, a line each. Unless a method
        says otherwise, an adapter starts from its own kind alone.

        Raises: WrongSource.
        """
        kind, given = type(self).__name__, type(source).__name__
        check_width(source, self)
        if not list(self.parameters()):
            raise WrongSource(f"wanted a target with weights of its own, given {kind}")
        if type(source) is not type(self):
            raise WrongSource(f"wanted a {kind} source, given {given}: its weights have no counterpart there")
        return copy_weights(source, self)


def folded_source(source: Adapter, target: Adapter) -> Folded:
    """What `source` folds to, for a target of the same width. Raises: WrongSource."""
    check_width(source, target)
    folded = source.fold()
    if folded is None:
        raise WrongSource(
            f"wanted a source with a constant prompt, given {type(source).__name__}, which reads the text"
        )
    return folded


def check_width(source: Adapter, target: Adapter) -> None:
    """Raises: WrongSource."""
    if source.token_dim != target.token_dim:
        raise WrongSource(f"wanted a source of width {target.token_dim}, given {source.token_dim}: another backbone's")


ADAPTERS: Registry[type[Adapter]] = Registry("adapter", entry_points="dept_vl.adapters")
