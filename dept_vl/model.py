"""The network: a frozen language model, and the parts that train beside it. The only path into the frozen model.

1. ids -> the backbone's embedding table -> [batch, seq, d_model];
2. the adapter shifts the text and puts its prompt in front -> [batch, prompt + seq, d_model];
3. grid features pass the projection and stand behind the text: prompt, text, visual; pads move to the end;
4. the frozen model reads the embeddings; nothing else enters it.

Text alone is simply a batch without features. In a batch that mixes adapters each row names its own: the rows of one
adapter take the same steps, so each row reads what it would read alone.
"""

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor, nn

from dept_vl.adapters import Adapter, Folded, Text
from dept_vl.backbones import Backbone, CandidateTree, Embeds, Mask, choose, pads_last
from dept_vl.part import Part, misfits
from dept_vl.vision.projections import Projection

Embedded = tuple[Embeds, Mask]
"""What the frozen model reads: embeddings, and a mask that is 1 at a real token."""

TOKEN_ORDER = ("prompt", "text", "visual")
"""In which the frozen model reads them; `Network._read` puts them so, and a saved adapter records it."""

BASE = "__base__"
"""The name of the bare model in a batch that mixes adapters: no prompt, no shift, no image."""


@dataclasses.dataclass
class Batch:
    """What one step reads. `ids` hold the example ids, on the host."""

    input_ids: Integer[Tensor, "batch seq"]
    mask: Integer[Tensor, "batch seq"]  # 1 = a real token
    labels: Integer[Tensor, "batch target"] | None = None  # -100 = no token
    features: Float[Tensor, "batch patch width"] | None = None
    ids: tuple[Hashable, ...] = ()
    right_padded: bool = False  # every row's text is known to stand in front of its pads; saves moving them
    adapters: tuple[str, ...] | None = None  # the adapter of each row, in the network's bank; None: the network's own
    tasks: Integer[Tensor, " batch"] | None = None  # the place of each row's task in the mixture that trains; None: one
    covered: Integer[Tensor, "batch seq"] | None = None  # 1 = a token that the shift counts; None: every real one

    def to(self, device: torch.device) -> "Batch":
        moved = {
            field.name: value.to(device, non_blocking=True)
            for field in dataclasses.fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return dataclasses.replace(self, **moved)


@dataclasses.dataclass(frozen=True)
class BankEntry:
    """An adapter of the bank, folded where it can be, and the projection of its images (None: it reads text alone)."""

    adapter: Adapter | Folded
    projection: Projection | None = None


class MismatchedParts(ValueError):
    """Parts that do not fit each other, or a batch that does not fit them."""


class Network(nn.Module):
    """`backbone` stays frozen; `parts` train: "adapter", "projection" where images are read, and "inside", attached to
    the backbone before, where a method trains inside it.

    backbone_dropout: whether the frozen model's own dropout acts in training (the DePT and DPT recipes have it on,
    Lester et al. and FPT off). covers: whether the shift reaches the visual tokens behind the text too, an ablation.
    bank: adapters by name, for batches whose rows name theirs; an entry is shared with whoever else holds it.
    """

    def __init__(
        self,
        backbone: Backbone,
        parts: Mapping[str, Part],
        *,
        backbone_dropout: bool = False,
        covers: Literal["text", "text_and_visual"] = "text",
    ) -> None:
        super().__init__()
        for name, part in parts.items():
            if part.token_dim != backbone.d_model:
                raise MismatchedParts(
                    f"{name}: wanted width {backbone.d_model} (the backbone's d_model), given {part.token_dim}"
                )
        self.backbone, self.parts = backbone, nn.ModuleDict(parts)
        self.backbone_dropout, self.covers = backbone_dropout, covers
        self.bank: dict[str, BankEntry] = {BASE: BankEntry(Folded(torch.zeros(0, backbone.d_model), None))}
        self._read_through: tuple[Backbone, ...] = ()  # in tuples, so that they are no parts of this module
        self._served_inside: tuple[Part, ...] = ()

    @property
    def adapter(self) -> Adapter:
        return self.parts["adapter"]

    @property
    def projection(self) -> Projection | None:
        return self.parts["projection"] if "projection" in self.parts else None

    @property
    def inside(self) -> Part | None:
        """What computes inside the backbone: a part of this network, or what `serve_inside` named."""
        return self.parts["inside"] if "inside" in self.parts else next(iter(self._served_inside), None)

    def serve_inside(self, tuning: Part | None) -> None:
        """Name what is attached to the backbone and trained elsewhere; None: nothing is."""
        self._served_inside = () if tuning is None else (tuning,)

    def train(self, mode: bool = True) -> "Network":
        super().train(mode)
        self.backbone.train(mode and self.backbone_dropout)
        for part in self.parts.values():
            part.train(mode)  # what it has inside the backbone, too
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
        as it is read now, and through the whole backbone. None where the backbone has no formula, or something trains
        inside it, for which there is none."""
        if "inside" in self.parts:
            return None
        rows, seq = batch.input_ids.shape
        visual = self.projection.num_tokens if batch.features is not None else 0
        out = self.adapter.num_virtual_tokens + seq + visual
        sizes = (rows, out, batch.labels.shape[1])
        now, full = self._reading.training_flops(*sizes), self.backbone.training_flops(*sizes)
        return None if now is None or full is None else (now, full)

    def embed(self, batch: Batch, *, blind: bool = False) -> Embedded:
        """What the frozen model reads: prompt, text, visual, and the pads behind them. `blind` zeroes the visual
        tokens: they keep their places and carry nothing."""
        embeds = self.backbone.embed(batch.input_ids)
        if self.inside is not None:
            self.inside.context(Text(embeds, batch.mask, batch.input_ids, batch.tasks))
        if batch.adapters is None:
            if batch.features is not None and self.projection is None:
                raise MismatchedParts("given a batch with visual features, but the network has no projection")
            return self._read(BankEntry(self.adapter, self.projection), embeds, batch, blind)
        places: dict[str, list[int]] = {name: [] for name in batch.adapters}
        for row, name in enumerate(batch.adapters):
            places[name].append(row)
        rows = {name: torch.tensor(each, device=embeds.device) for name, each in places.items()}
        read = [self._read(self.bank[name], embeds[own], _rows(batch, own), blind) for name, own in rows.items()]
        return _together(read, torch.cat(list(rows.values())).argsort())

    def _read(
        self, entry: BankEntry, embeds: Float[Tensor, "batch seq d_model"], batch: Batch, blind: bool
    ) -> Embedded:
        """Prompt, text and visual tokens of rows that share an adapter, in `TOKEN_ORDER`."""
        visual = None
        if batch.features is not None and entry.projection is not None:
            visual = entry.projection(batch.features)  # [batch, token, d_model]
            visual = torch.zeros_like(visual) if blind else visual
        if self.covers == "text_and_visual":
            return entry.adapter(*pads_last(*_append(embeds, batch.mask, visual)), tasks=batch.tasks)
        embeds, mask = entry.adapter(embeds, batch.mask, batch.input_ids, batch.tasks)  # [batch, prompt + seq, d_model]
        if visual is None and batch.right_padded:
            return embeds, mask
        return pads_last(*_append(embeds, mask, visual))

    def generate(
        self, batch: Batch, *, max_new_tokens: int, num_beams: int = 1, blind: bool = False
    ) -> Integer[Tensor, "batch target"]:
        with torch.no_grad():
            embeds, mask = self.embed(batch, blind=blind)
        prompt = self._shared_prompt(batch)
        return self.backbone.generate(
            embeds, mask, max_new_tokens=max_new_tokens, num_beams=num_beams, prompt_length=prompt
        )

    @torch.no_grad()
    def choose(self, batch: Batch, tree: CandidateTree, *, blind: bool = False) -> Integer[Tensor, " batch"]:
        """The index of the candidate that greedy decoding among the tree's gives each row. Like `generate` it wants
        the network in evaluation mode."""
        return choose(self.backbone, *self.embed(batch, blind=blind), tree, prompt_length=self._shared_prompt(batch))

    def _shared_prompt(self, batch: Batch) -> int:
        """How many prompt columns all rows have in common, which a causal model computes once for all batches."""
        names = set(batch.adapters or ())
        if len(names) > 1 or (self.inside is not None and self.inside.by_row):
            return 0
        adapter = self.bank[names.pop()].adapter if names else self.adapter
        return 0 if isinstance(adapter, Adapter) and adapter.reads_text else adapter.num_virtual_tokens

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        """The parts' groups: every trained weight in exactly one. A name that an earlier part has gets its part's in
        front."""
        groups: dict[str, list[nn.Parameter]] = {}
        for name, part in self.parts.items():
            for group, weights in part.param_groups().items():
                groups[f"{name}.{group}" if group in groups else group] = weights
        return groups

    def diagnostics(self) -> dict[str, float | int]:
        return {name: value for part in self.parts.values() for name, value in part.diagnostics().items()}

    def covered_length(self, batch: Batch) -> int:
        """The most positions of a row that a shift may cover (of a batch on the host)."""
        longest = int(batch.mask.sum(1).max())
        visual = batch.features is not None and self.covers == "text_and_visual"
        return longest + (self.projection.num_tokens if visual else 0)

    def observe(self, longest: int) -> None:
        """Tells the parts how far training has reached; see `Part.observe`."""
        for part in self.parts.values():
            part.observe(longest)

    def state(self) -> dict[str, Any]:
        """What the parts keep beyond their weights, by part."""
        return {name: part.state() for name, part in self.parts.items()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Raises: ValueError, KeyError for the state of other parts."""
        for name, part in self.parts.items():
            part.load_state(state[name])

    def trained_state(self) -> dict[str, Tensor]:
        """The trained weights, each under its part's name: adapter.prompt_embeddings, projection.linear.weight."""
        return dict(self.parts.state_dict())

    def load_trained_state(self, state: Mapping[str, Tensor]) -> None:
        """Raises: MismatchedParts naming the weights that are missing, unknown or of another shape."""
        own = self.trained_state()
        if wrong := misfits(own, state):
            raise MismatchedParts(f"weights that do not fit this network: {'; '.join(wrong)}")
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(state[name])


def _append(
    embeds: Embeds, mask: Mask, visual: Float[Tensor, "batch token d_model"] | None
) -> tuple[Float[Tensor, "batch longer d_model"], Integer[Tensor, "batch longer"]]:
    if visual is None:
        return embeds, mask
    mask = torch.cat([mask, mask.new_ones(visual.shape[:2])], dim=1)
    return torch.cat([embeds, visual.to(embeds.dtype)], dim=1), mask


def _rows(batch: Batch, rows: Integer[Tensor, " own"]) -> Batch:
    """These rows of a batch that mixes adapters, without its labels."""
    features = None if batch.features is None else batch.features[rows]
    tasks = None if batch.tasks is None else batch.tasks[rows]
    return Batch(batch.input_ids[rows], batch.mask[rows], features=features, tasks=tasks)


def _together(parts: Sequence[tuple[Tensor, Tensor]], order: Integer[Tensor, " batch"]) -> Embedded:
    """The rows of several adapters, padded behind to the longest row, in the order of their batch."""
    longest = max(int((mask != 0).sum(1).max()) for _, mask in parts)
    embeds = [F.pad(each, (0, 0, 0, longest - each.shape[1])) for each, _ in parts]  # a negative pad cuts pads off
    masks = [F.pad(mask, (0, longest - mask.shape[1])) for _, mask in parts]
    return torch.cat(embeds)[order], torch.cat(masks)[order]
