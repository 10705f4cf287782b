"""The adapters of a batch whose rows name theirs: what each needs to read its rows, and how several read at once."""

import dataclasses
from collections.abc import Callable, Hashable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from dept_vl.adapters import Adapter, Folded, FoldedRows, Teachers
from dept_vl.backbones import TokenOrder
from dept_vl.vision.projections import Projection

Project = Callable[[Float[Tensor, "batch patch width"]], Float[Tensor, "batch token d_model"]]


@dataclasses.dataclass(frozen=True, eq=False)
class BankEntry:
    """An adapter of the bank, folded where it can be, the projection of its images (None: it reads text alone), and the
    order in which its rows are read (None: the network's)."""

    adapter: Adapter | Folded | FoldedRows | Teachers
    projection: Projection | Project | None = None
    order: TokenOrder | None = None

    @property
    def form(self) -> Hashable:
        """Rows whose entries agree in this are read at once: folded ones with prompts, and visual tokens, of one
        number, in one order. What does not fold is read by itself."""
        if not isinstance(self.adapter, Folded):
            return id(self)
        visual = None if self.projection is None else self.projection.num_tokens
        return self.adapter.num_virtual_tokens, visual, self.order


def by_row(entries: Sequence[BankEntry], device: torch.device) -> BankEntry:
    """One entry for rows that have these, which agree in their form."""
    first = entries[0]
    if all(entry is first for entry in entries):
        return first
    adapter = FoldedRows.of([entry.adapter for entry in entries], device)
    return BankEntry(adapter, first.projection and _by_row([entry.projection for entry in entries]), first.order)


def _by_row(projections: Sequence[Projection]) -> Project:
    """Each row through its own."""
    places: dict[Projection, list[int]] = {}
    for row, projection in enumerate(projections):
        places.setdefault(projection, []).append(row)
    if len(places) == 1:
        return projections[0]
    back = [row for own in places.values() for row in own]

    def project(features: Tensor) -> Tensor:
        tokens = torch.cat([projection(features[own]) for projection, own in places.items()])
        return tokens[torch.tensor(back, device=tokens.device).argsort()]

    return project
