"""The assembled model: frozen backbone, adapter, projection. `Network` is all that the training loop knows.

The path of a batch:
1. ids -> the backbone's embedding table -> [batch, seq, d_model];
2. the adapter shifts the text and puts its prompt in front -> [batch, prompt + seq, d_model];
3. the grid features pass the projection and stand behind the text: prompt, text, visual; pads move to the end;
4. the frozen model reads the embeddings; nothing else enters it.
Text alone is simply a batch without features.
"""

import dataclasses
from collections.abc import Hashable

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn

from dept_vl.adapters import Adapter
from dept_vl.backbones import Backbone, CandidateTree, choose, pads_last
from dept_vl.vision.projection import VisualProjection


@dataclasses.dataclass
class Batch:
    """What one step reads. `ids` hold the example ids, on the host."""

    input_ids: Integer[Tensor, "batch seq"]
    mask: Integer[Tensor, "batch seq"]  # 1 = a real token
    labels: Integer[Tensor, "batch target"] | None = None  # -100 = no token
    features: Float[Tensor, "batch patch width"] | None = None
    ids: tuple[Hashable, ...] = ()
    right_padded: bool = False  # every row's text is known to stand in front of its pads; saves moving them

    def to(self, device: torch.device) -> "Batch":
        moved = {
            field.name: value.to(device, non_blocking=True)
            for field in dataclasses.fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return dataclasses.replace(self, **moved)


class MismatchedParts(ValueError):
    """Parts that do not fit each other, or a batch that does not fit them."""


class Network(nn.Module):
    """`backbone` stays frozen; `adapter` and `projection` train. `backbone_dropout`: whether the frozen model's own
    dropout acts in training (the DePT and DPT recipes have it on, Lester et al. and FPT off). `shift_visual`: the shift
    covers the visual tokens behind the text too, as an ablation."""

    def __init__(
        self,
        backbone: Backbone,
        adapter: Adapter,
        projection: VisualProjection | None = None,
        *,
        backbone_dropout: bool = False,
        shift_visual: bool = False,
    ) -> None:
        super().__init__()
        if adapter.token_dim != backbone.d_model:
            raise MismatchedParts(
                f"wanted an adapter of width {backbone.d_model} (the backbone's d_model), given {adapter.token_dim}"
            )
        if projection is not None and projection.d_model != backbone.d_model:
            raise MismatchedParts(
                f"wanted a projection to width {backbone.d_model} (the backbone's d_model), given {projection.d_model}"
            )
        self.backbone, self.adapter, self.projection = backbone, adapter, projection
        self.backbone_dropout, self.shift_visual = backbone_dropout, shift_visual
        self._read_through: tuple[Backbone, ...] = ()  # in a tuple, so that it is no part of this module

    def train(self, mode: bool = True) -> "Network":
        super().train(mode)
        self.backbone.train(mode and self.backbone_dropout)
        for backbone in (self.backbone, *self._read_through):
            backbone.recompute(mode)
        return self

    def forward(self, batch: Batch) -> Float[Tensor, " batch"]:
        """Nats per target token, a number per row."""
        if batch.labels is None:
            raise MismatchedParts("wanted a batch with labels, given one without")
        return self._reading.loss(*self.embed(batch), batch.labels)

    def read_through(self, partial: Backbone | None) -> None:
        """From now on losses in training mode go through `partial`, a view of the backbone; None: through all of it.
        Whatever is in evaluation mode never does."""
        self._read_through = () if partial is None else (partial,)
        if partial is not None:
            partial.recompute(self.training)

    @property
    def _reading(self) -> Backbone:
        return self._read_through[0] if self.training and self._read_through else self.backbone

    def training_flops(self, batch: Batch) -> tuple[int, int] | None:
        """Floating-point operations of a training step's frozen model on this batch as padded, forward and backward:
        as it is read now, and through the whole backbone. None where the backbone has no formula."""
        rows, seq = batch.input_ids.shape
        patches = batch.features.shape[1] if batch.features is not None else 0
        out = self.adapter.num_virtual_tokens + seq + patches
        sizes = (rows, out, batch.labels.shape[1])
        now, full = self._reading.training_flops(*sizes), self.backbone.training_flops(*sizes)
        return None if now is None or full is None else (now, full)

    def embed(
        self, batch: Batch, *, blind: bool = False
    ) -> tuple[Float[Tensor, "batch out d_model"], Integer[Tensor, "batch out"]]:
        """What the frozen model reads: prompt, text, visual, and the pads behind them. `blind` zeroes the visual
        tokens: they stand where they stood and say nothing."""
        embeds, mask = self.backbone.embed(batch.input_ids), batch.mask
        if self.shift_visual:
            return self.adapter(*pads_last(*self._with_visual(embeds, mask, batch, blind)))
        embeds, mask = self.adapter(embeds, mask)  # [batch, prompt + seq, d_model]
        if batch.features is None and batch.right_padded:
            return embeds, mask
        return pads_last(*self._with_visual(embeds, mask, batch, blind))

    def _with_visual(
        self, embeds: Float[Tensor, "batch out d_model"], mask: Integer[Tensor, "batch out"], batch: Batch, blind: bool
    ) -> tuple[Float[Tensor, "batch longer d_model"], Integer[Tensor, "batch longer"]]:
        if batch.features is None:
            return embeds, mask
        if self.projection is None:
            raise MismatchedParts("given a batch with visual features, but the network has no projection")
        visual = self.projection(batch.features)  # [batch, patch, d_model]
        visual = torch.zeros_like(visual) if blind else visual
        embeds = torch.cat([embeds, visual.to(embeds.dtype)], dim=1)
        return embeds, torch.cat([mask, mask.new_ones(visual.shape[:2])], dim=1)

    def generate(
        self, batch: Batch, *, max_new_tokens: int, num_beams: int = 1, blind: bool = False
    ) -> Integer[Tensor, "batch target"]:
        with torch.no_grad():
            embeds, mask = self.embed(batch, blind=blind)
        return self.backbone.generate(
            embeds,
            mask,
            max_new_tokens=max_new_tokens,
            num_beams=num_beams,
            prompt_length=self.adapter.num_virtual_tokens,  # `embed` puts one prompt in front of every row
        )

    @torch.no_grad()
    def choose(self, batch: Batch, tree: CandidateTree) -> Integer[Tensor, " batch"]:
        """The index of the candidate that greedy decoding among the tree's gives each row. Like `generate` it wants
        the network in evaluation mode."""
        return choose(self.backbone, *self.embed(batch), tree, prompt_length=self.adapter.num_virtual_tokens)

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        """The adapter's groups and "projection": every trained weight in exactly one."""
        groups = dict(self.adapter.param_groups())
        if self.projection is not None:
            groups["projection"] = list(self.projection.parameters())
        return groups

    def diagnostics(self) -> dict[str, float | int]:
        """The adapter's; see `Adapter.diagnostics`."""
        return self.adapter.diagnostics()

    @property
    def trained_length(self) -> int | None:
        """Text positions that training reached; see `Adapter.trained_length`."""
        return self.adapter.trained_length

    @trained_length.setter
    def trained_length(self, length: int | None) -> None:
        self.adapter.trained_length = length

    def note_length(self, batch: Batch) -> None:
        """Takes note of a training batch (still on the host): its longest text, and what else the shift covers, extends
        `trained_length`."""
        longest = int(batch.mask.sum(1).max())
        if self.shift_visual and batch.features is not None:
            longest += batch.features.shape[1]
        self.trained_length = max(longest, self.trained_length or 0)

    def trained_state(self) -> dict[str, Tensor]:
        """The trained weights by name: the adapter's own names, and the projection's behind "visual_projection."."""
        state = dict(self.adapter.state_dict())
        if self.projection is not None:
            state |= {f"visual_projection.{name}": value for name, value in self.projection.state_dict().items()}
        return state

    def load_trained_state(self, state: dict[str, Tensor]) -> None:
        """Raises: MismatchedParts naming the weights that are missing, unknown or of another shape."""
        own = self.trained_state()
        wrong = [f"no {name}" for name in own if name not in state]
        wrong += [f"unknown {name}" for name in state if name not in own]
        wrong += [
            f"{name}: wanted {list(own[name].shape)}, given {list(state[name].shape)}"
            for name in own
            if name in state and own[name].shape != state[name].shape
        ]
        if wrong:
            raise MismatchedParts(f"weights that do not fit this network: {'; '.join(wrong)}")
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(state[name])
