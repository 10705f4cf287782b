"""Every registered adapter in toy size, fresh and trained, and small batches of embedded text."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dept_vl.adapters import Adapter, build_adapter
from tests.toy_arguments import all_toy_arguments, toy_arguments

D_MODEL = 8
SIZES = {"num_virtual_tokens": 4, "r": 2, "max_length": 6, "bottleneck": 5}
CASES = {
    **{name: (name, arguments) for name, arguments in all_toy_arguments(**SIZES).items()},
    "dept-unscaled": ("dept", toy_arguments("dept", **SIZES) | {"lora_alpha": None}),
    "dept-promptless": ("dept", {"num_virtual_tokens": 0, "r": 2, "max_length": 6}),
    "rank_probe-narrow": ("rank_probe", {"num_virtual_tokens": 4, "r": 2}),
}


@pytest.fixture
def cases() -> dict[str, tuple[str, dict]]:
    return CASES


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    """A test that asks for this, or for an adapter made of it, is a law: it runs over all adapters."""
    return request.param


@pytest.fixture
def fresh(case: str, init: Tensor) -> Callable[..., Adapter]:
    def build(seed: int = 0) -> Adapter:
        name, arguments = CASES[case]
        return build_adapter(name, init, arguments, torch.Generator().manual_seed(seed))

    return build


@pytest.fixture
def adapter(fresh: Callable[..., Adapter]) -> Adapter:
    """Weights as far from their start as training would take them, in evaluation mode."""
    adapter = fresh()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in adapter.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator))
    return adapter.eval()


@pytest.fixture
def folding(adapter: Adapter) -> Adapter:
    """For laws of what is constant: those that read the text stay out."""
    if adapter.reads_text:
        pytest.skip("its pair depends on the text: there is nothing to fold")
    return adapter


@pytest.fixture
def d_model() -> int:
    return D_MODEL


@pytest.fixture
def init() -> Tensor:
    return torch.randn(20, D_MODEL, generator=torch.Generator().manual_seed(11))


@pytest.fixture
def make_batch() -> Callable[..., tuple[Tensor, Tensor]]:
    """make_batch([3, 5], seq=7, side="left"): rows of so many real tokens, whatever the padding."""

    def make(lengths: list[int], *, seq: int | None = None, side: str = "right") -> tuple[Tensor, Tensor]:
        seq = max(lengths) if seq is None else seq
        generator = torch.Generator().manual_seed(5)
        content = [torch.randn(length, D_MODEL, generator=generator) for length in lengths]
        embeds = torch.full((len(lengths), seq, D_MODEL), 0.25)
        mask = torch.zeros(len(lengths), seq, dtype=torch.long)
        for i, row in enumerate(content):
            columns = slice(0, len(row)) if side == "right" else slice(seq - len(row), seq)
            embeds[i, columns] = row
            mask[i, columns] = 1
        return embeds, mask

    return make
