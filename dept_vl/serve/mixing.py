"""A batch whose rows may each have another adapter.

1. the bank of folded adapters puts each row's own prompt in front of its text and adds its own shift;
2. each adapter's projection makes the visual tokens of its own rows, behind the text;
3. pads go behind everything, so no row sees another's length: prompt, text, visual, pads.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn

from dept_vl.adapters import BASE, Folded, FoldedBank
from dept_vl.backbones import pads_last
from dept_vl.saved import SavedAdapter
from dept_vl.serve.named import BASE_NAME


class AdapterMix(nn.Module):
    """Named adapters, folded once, and their projections. "__base__" has neither prompt nor shift."""

    def __init__(self, adapters: Mapping[str, SavedAdapter], d_model: int) -> None:
        super().__init__()
        folded = [saved.adapter.fold() for saved in adapters.values()]
        self.bank = FoldedBank(folded or [Folded(prompt=torch.zeros(0, d_model), shift=None)])
        self.rows = {name: row for row, name in enumerate(adapters)} | {BASE_NAME: BASE}
        self.projections = {name: saved.projection for name, saved in adapters.items()}  # shared, not owned

    def forward(
        self,
        embeds: Float[Tensor, "batch seq d_model"],
        mask: Integer[Tensor, "batch seq"],
        names: Sequence[str],
        features: Float[Tensor, "image patch width"] | None,
        seeing: Sequence[int],
    ) -> tuple[Float[Tensor, "batch out d_model"], Integer[Tensor, "batch out"]]:
        """`names` says each row's adapter; `seeing` says which row each of the images belongs to."""
        rows = torch.tensor([self.rows[name] for name in names], device=embeds.device)
        embeds, mask = self.bank(embeds, mask, rows)
        if features is not None:
            visual, visual_mask = self._look(names, features.to(embeds.device), seeing, embeds, mask)
            embeds, mask = torch.cat([embeds, visual], dim=1), torch.cat([mask, visual_mask], dim=1)
        embeds, mask = pads_last(embeds, mask)
        longest = int((mask != 0).sum(1).max())  # the bank pads to its longest prompt, even if no row here has it
        return embeds[:, :longest], mask[:, :longest]

    def _look(
        self,
        names: Sequence[str],
        features: Float[Tensor, "image patch width"],
        seeing: Sequence[int],
        embeds: Float[Tensor, "batch text d_model"],
        mask: Integer[Tensor, "batch text"],
    ) -> tuple[Float[Tensor, "batch patch d_model"], Integer[Tensor, "batch patch"]]:
        """Every row's visual tokens, in the type of `embeds`; masked where a row has no image."""
        batch, patches = len(names), features.shape[1]
        visual = embeds.new_zeros(batch, patches, embeds.shape[2])
        visual_mask = mask.new_zeros(batch, patches)
        for name in dict.fromkeys(names[place] for place in seeing):
            images = [image for image, place in enumerate(seeing) if names[place] == name]
            own = torch.tensor([seeing[image] for image in images], device=embeds.device)
            picked = features[torch.tensor(images, device=embeds.device)]  # [own, patch, width]
            visual[own] = self.projections[name](picked).to(visual.dtype)
            visual_mask[own] = 1
        return visual, visual_mask
