"""Frozen linear layers in 8 or 4 bits: what is held is packed, what is computed is not, but for int8_dynamic.

    int8            W = scale * Q,           Q in -127 .. 127, one scale for each output       (weight-only, symmetric)
    nf4             W = absmax * code[Q],    16 values, one absmax for each 64 weights         (QLoRA, arXiv:2305.14314)
    int8_dynamic    W as in int8;  x and dL/dy are rounded likewise, one scale for each token  (W8A8, arXiv:2206.01861)

    y = x W^T + b,    dL/dx = dL/dy W,    W unpacked anew in each pass and kept for none

int8 and nf4 never quantise activations, and int8_dynamic each token by itself, so a row does not depend on its batch:
bitsandbytes' own int8 product rounds activations to float16, which T5's pass (65,504), and picks its columns by the
whole batch. int8_dynamic multiplies integers, on a CPU alone; elsewhere it computes as int8 does. The embedding table,
a head, norms and biases stay as they were loaded. nf4 is packed and unpacked by bitsandbytes' kernels, on a GPU or a
CPU.
"""

import importlib.util
from abc import ABC, abstractmethod
from types import ModuleType
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from dept_vl.backbones.prompt_cache import compute_type

Weight = Float[Tensor, "outputs inputs"]
_BLOCK = 64  # weights that share an absmax, as in QLoRA


class NotQuantised(ValueError):
    """Weights that cannot be held in fewer bits: an unknown format, a missing library, parts of weights."""


class QuantisedLinear(nn.Linear, ABC):
    """A frozen linear layer whose `weight` is packed into int8: T5 and its kin leave an input as it is in front of a
    weight of that type, and would cast it to any other."""

    library: ClassVar[str | None] = None  # that packs and unpacks
    scale: Tensor | None  # [outputs], by which the product with `values` is multiplied

    def __init__(self, weight: Weight, bias: Tensor | None) -> None:
        outputs, inputs = weight.shape
        super().__init__(inputs, outputs, bias=False, device="meta")
        self.register_buffer("scale", None)
        self.bias = bias
        self.weight = nn.Parameter(self.pack(weight.detach()), requires_grad=False)

    @abstractmethod
    def pack(self, weight: Weight) -> Tensor:
        """The weight in int8, of any shape; what unpacking needs beside it becomes a buffer."""

    @abstractmethod
    def values(self, dtype: torch.dtype) -> Weight:
        """The weight, each row still to be multiplied by `scale` where there is one."""

    def forward(self, input: Tensor) -> Tensor:
        product = _Product.apply(input, self)
        return product if self.bias is None else product + self.bias.to(product.dtype)


class Int8Linear(QuantisedLinear):
    def pack(self, weight: Weight) -> Tensor:
        packed, scale = _in_int8(weight)
        self.scale = scale[:, 0]
        return packed

    def values(self, dtype: torch.dtype) -> Weight:
        return self.weight.to(dtype)


class Int8DynamicLinear(Int8Linear):
    def forward(self, input: Tensor) -> Tensor:
        if input.device.type != "cpu":
            return super().forward(input)
        product = _IntegerProduct.apply(input, self)
        return product if self.bias is None else product + self.bias.to(product.dtype)


class Nf4Linear(QuantisedLinear):
    """Packed as rows of one block each: bitsandbytes 0.50 on a CPU unpacks wrong values where a block ends within a row
    of another width (32 columns: 0.37 of the norm off, where 0.09 is right)."""

    library = "bitsandbytes"

    def pack(self, weight: Weight) -> Tensor:
        blocks = F.pad(weight.flatten(), (0, -weight.numel() % _BLOCK)).view(-1, _BLOCK)
        packed, state = _bitsandbytes().quantize_4bit(blocks, blocksize=_BLOCK, quant_type="nf4")
        self.register_buffer("absmax", state.absmax)
        self.register_buffer("code", state.code)
        return packed.view(torch.int8)

    def values(self, dtype: torch.dtype) -> Weight:
        library, size = _bitsandbytes(), self.out_features * self.in_features
        state = library.QuantState(
            absmax=self.absmax,
            shape=torch.Size((len(self.absmax), _BLOCK)),
            code=self.code,
            blocksize=_BLOCK,
            quant_type="nf4",
            dtype=dtype,
        )
        blocks = library.dequantize_4bit(self.weight.view(torch.uint8), state)
        return blocks.flatten()[:size].view(self.out_features, self.in_features)


FORMATS = {"int8": Int8Linear, "int8_dynamic": Int8DynamicLinear, "nf4": Nf4Linear}


class _Product(torch.autograd.Function):
    """x W^T, with a gradient for x alone. What waits for the backward pass is the packed weight, which is there
    anyway: F.linear over an unpacked one would keep a whole model of those."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: QuantisedLinear) -> Tensor:
        ctx.layer, ctx.given, dtype = layer, x.dtype, compute_type(x)
        out = F.linear(x.to(dtype), layer.values(dtype))
        return out if layer.scale is None else (out * layer.scale).to(dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        dtype = grad.dtype
        if ctx.layer.scale is not None:
            grad = (grad * ctx.layer.scale).to(dtype)
        return (grad @ ctx.layer.values(dtype)).to(ctx.given), None


class _IntegerProduct(torch.autograd.Function):
    """x W^T of integers, with a gradient for x alone, which is such a product too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Int8Linear) -> Tensor:
        ctx.layer, ctx.given, dtype = layer, x.dtype, compute_type(x)
        return (_by_token(x, layer.weight.T) * layer.scale).to(dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _by_token(grad * ctx.layer.scale, ctx.layer.weight).to(ctx.given), None


def _by_token(x: Float[Tensor, "*rows inner"], values: Tensor) -> Float[Tensor, "*rows outer"]:
    """x times integers [inner, outer], in float32; each row of x is rounded to integers by its own scale."""
    packed, scale = _in_int8(x.reshape(-1, x.shape[-1]))
    product = torch._int_mm(packed, values).float() * scale  # torchao's kernel for it too
    return product.view(*x.shape[:-1], -1)


def _in_int8(matrix: Float[Tensor, "rows columns"]) -> tuple[Tensor, Float[Tensor, "rows 1"]]:
    """Integers from -127 to 127, and by what each row of them is to be multiplied. A row of zeros has a scale too."""
    matrix = matrix.float()
    scale = (matrix.abs().amax(1, keepdim=True) / 127).clamp(min=torch.finfo(torch.float32).tiny)
    return (matrix / scale).round().to(torch.int8), scale


@torch.no_grad()
def quantise(model: PreTrainedModel, load_in: str) -> None:
    """Put a `QuantisedLinear` in the place of every linear layer of `model` but its head. Take its identity before.

    Raises: NotQuantised.
    """
    check_format(load_in)
    if any(hasattr(weight, "ds_id") for weight in model.parameters()):
        raise NotQuantised(f"load_in {load_in}: wanted whole weights, given ones that ZeRO-3 keeps in parts")
    table, head = model.get_input_embeddings().weight, model.get_output_embeddings()
    found = [
        path
        for path, each in model.named_modules()
        if isinstance(each, nn.Linear | Conv1D) and each is not head and each.weight is not table
    ]
    for path in found:  # one by one, so that an unpacked layer goes before the next is packed
        each = model.get_submodule(path)
        weight = each.weight.T if isinstance(each, Conv1D) else each.weight
        model.set_submodule(path, FORMATS[load_in](weight, each.bias).train(each.training))


def check_format(load_in: str) -> None:
    """Raises: NotQuantised for a format that is unknown or whose library is missing."""
    if load_in not in FORMATS:
        raise NotQuantised(f"load_in: wanted one of {', '.join(FORMATS)}, or null, given {load_in!r}")
    library = FORMATS[load_in].library
    if library is not None and importlib.util.find_spec(library) is None:
        raise NotQuantised(
            f"load_in {load_in}: wanted the package {library}, which packs such weights, given none: "
            "python -m pip install dept_vl[bits]"
        )


def _bitsandbytes() -> ModuleType:
    import bitsandbytes.functional

    return bitsandbytes.functional
