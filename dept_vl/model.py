"""The network: a frozen language model, and the parts that train beside it. The only path into the frozen model.

1. ids -> the backbone's embedding table -> [batch, seq, d_model];
2. the adapter shifts the text and puts its prompt in front -> [batch, prompt + seq, d_model];
3. grid features pass the projection and take their place: of T5 behind the text, of a causal model in front of it
   (backbones/token_order.py); pads move to the end;
4. the frozen model reads the embeddings; nothing else enters it.

Text alone is simply a batch without features. In a batch that mixes adapters each row names its own and reads what it
would read alone: the rows of adapters of one form take the same steps together.
"""

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn

from dept_vl.adapters import Adapter, Folded, Teachers, Text
from dept_vl.backbones import (
    Backbone,
    CandidateTree,
    Choices,
    Embedded,
    SharedImages,
    choose,
    distance,
    joined,
    mean_nats,
    pads_last,
    rows_at_once,
    stacked,
    token_order,
)
from dept_vl.bank import BankEntry, by_row
from dept_vl.batch import Batch
from dept_vl.part import Part, misfits
from dept_vl.vision.projections import Projection

BASE = "__base__"
"""The name of the bare model in a batch that mixes adapters: no prompt, no shift, no image."""


class MismatchedParts(ValueError):
    """Parts that do not fit each other, or a batch that does not fit them."""


class Network(nn.Module):
    """`backbone` stays frozen; `parts` train: "adapter", "projection" where images are read, and "inside", attached to
    the backbone before, where a method trains inside it.

    backbone_dropout: whether the frozen model's own dropout acts in training (the DePT and DPT recipes have it on,
    Lester et al. and FPT off). label_smoothing: of the training loss, see `mean_nats`. covers: whether the shift
    reaches the visual tokens too, an ablation; its rows are then the places among visual tokens and text in the order
    in which they are read. order: in which the frozen model reads prompt, text and visual tokens; None: the usual one
    of its kind.
    bank: adapters by name, for batches whose rows name theirs; an entry is shared with whoever else holds it. teachers:
    from which the adapter learns, of the tasks that the rows of a training batch name. choices: the labels of a task,
    for a training loss with the terms of (IA)^3's recipe.
    """

    def __init__(
        self,
        backbone: Backbone,
        parts: Mapping[str, Part],
        *,
        backbone_dropout: bool = False,
        label_smoothing: float = 0.0,
        covers: Literal["text", "text_and_visual"] = "text",
        order: Sequence[str] | None = None,
    ) -> None:
        """Raises: MismatchedParts, WrongOrder."""
        super().__init__()
        for name, part in parts.items():
            if part.token_dim != backbone.d_model:
                raise MismatchedParts(
                    f"{name}: wanted width {backbone.d_model} (the backbone's d_model), given {part.token_dim}"
                )
        self.backbone, self.parts = backbone, nn.ModuleDict(parts)
        self.backbone_dropout, self.label_smoothing, self.covers = backbone_dropout, label_smoothing, covers
        self.order = token_order(backbone.kind, order)
        self.bank: dict[str, BankEntry] = {BASE: BankEntry(Folded(torch.zeros(0, backbone.d_model), None))}
        self.teachers: Teachers | None = None
        self.choices: Choices | None = None
        self._read_through: tuple[Backbone, ...] = ()  # in tuples, so that they are no parts of this module
        self._answers_through = False
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
        """Nats per target token, a number per row; in training mode smoothed as `label_smoothing` says, and with how
        far the teachers are, if there are any."""
        if batch.labels is None:
            raise MismatchedParts("wanted a batch with labels, given one without")
        if self.teachers is not None and self.training:
            return self._distilled(batch, self.teachers)
        embedded = self.embed(batch)
        if not self.training:
            return self._reading.loss(*embedded, batch.labels)
        if self.choices is not None:
            return sum(self.choices.losses(self._reading, *embedded, batch.labels, self.label_smoothing))
        return self._reading.loss(*embedded, batch.labels, self.label_smoothing)

    def _distilled(self, batch: Batch, teachers: Teachers) -> Float[Tensor, " batch"]:
        """The teachers see the same pads and the same draws of dropout: a student that is its teacher is at no
        distance."""
        embeds = self.backbone.embed(batch.input_ids)
        gpus = [embeds.device] if embeds.device.type == "cuda" else []
        with torch.no_grad(), torch.random.fork_rng(gpus):
            given = self._read(BankEntry(teachers), embeds, batch, blind=False)
            taught = self._reading.states(*given, batch.labels)
        own = self._reading.states(*self.embed(batch), batch.labels)
        nats = mean_nats(own.logits, batch.labels, self.label_smoothing)
        return nats + teachers.weight * distance(own, taught, batch.labels)

    def read_through(self, partial: Backbone | None, *, answers: bool = False) -> None:
        """From now on losses in training mode go through `partial`, a view of the backbone; None: through all of it.
        Whatever is in evaluation mode does so only with `answers`."""
        self._read_through = () if partial is None else (partial,)
        self._answers_through = answers
        if partial is not None:
            partial.recompute(self.training)

    @property
    def _reading(self) -> Backbone:
        partly = self._read_through and (self.training or self._answers_through)
        return self._read_through[0] if partly else self.backbone

    def training_flops(self, batch: Batch) -> tuple[int, int] | None:
        """Floating-point operations of a training step's frozen model on this batch as padded, forward and backward:
        as it is read now, and through the whole backbone. None where the backbone has no formula, or for what has none:
        something that trains inside it, teachers and choices."""
        if "inside" in self.parts or self.teachers is not None or self.choices is not None:
            return None
        rows, seq = batch.input_ids.shape
        visual = self.projection.num_tokens if batch.features is not None else 0
        out = self.adapter.num_virtual_tokens + seq + visual
        sizes = (rows, out, batch.labels.shape[1])
        now, full = self._reading.training_flops(*sizes), self.backbone.training_flops(*sizes)
        return None if now is None or full is None else (now, full)

    def embed(self, batch: Batch, *, blind: bool = False) -> Embedded:
        """What the frozen model reads: prompt, text and visual tokens in their order, and the pads behind them.
        `blind` zeroes the visual tokens: they keep their places and carry nothing."""
        embeds = self.backbone.embed(batch.input_ids)
        if self.inside is not None:
            self.inside.context(Text(embeds, batch.mask, batch.input_ids, batch.tasks))
        if batch.adapters is None:
            if batch.features is not None and self.projection is None:
                raise MismatchedParts("given a batch with visual features, but the network has no projection")
            return self._read(self._own, embeds, batch, blind)
        entries, places = [self.bank[name] for name in batch.adapters], defaultdict(list)
        for row, entry in enumerate(entries):
            places[entry.form].append(row)
        read = [
            self._read(by_row([entries[row] for row in own], embeds.device), embeds[own], batch.rows(own), blind)
            for own in places.values()
        ]
        return stacked(read, torch.tensor([*itertools.chain(*places.values())], device=embeds.device).argsort())

    def _read(
        self, entry: BankEntry, embeds: Float[Tensor, "batch seq d_model"], batch: Batch, blind: bool
    ) -> Embedded:
        """Prompt, text and visual tokens of rows that share an adapter, in their order."""
        pieces = {"text": (embeds, batch.mask)}
        if batch.features is not None and entry.projection is not None:
            visual = entry.projection(batch.features).to(embeds.dtype)  # [batch, token, d_model]
            visual = torch.zeros_like(visual) if blind else visual
            pieces["visual"] = visual, batch.mask.new_ones(visual.shape[:2])
        order = [name for name in entry.order or self.order if name == "prompt" or name in pieces]
        if self.covers == "text" or "visual" not in pieces:
            covered = ["text"]
            text = (embeds, batch.mask, batch.input_ids, batch.tasks, batch.covered)
            embeds, mask = entry.adapter(*text)  # [batch, prompt + seq, d_model]
        else:
            covered = [name for name in order if name != "prompt"]
            embeds, mask = entry.adapter(*pads_last(*joined([pieces[name] for name in covered])), tasks=batch.tasks)
        if order == ["prompt", *covered]:
            return (embeds, mask) if batch.right_padded and covered == ["text"] else pads_last(embeds, mask)
        widths = [pieces[name][0].shape[1] for name in covered]
        widths.insert(0, embeds.shape[1] - sum(widths))  # the prompt's
        split = zip(embeds.split(widths, dim=1), mask.split(widths, dim=1), strict=True)
        pieces |= zip(["prompt", *covered], split, strict=True)
        return pads_last(*joined([pieces[name] for name in order]))

    def generate(
        self, batch: Batch, *, max_new_tokens: int, num_beams: int = 1, blind: bool = False, **options: Any
    ) -> Integer[Tensor, "batch target"]:
        """`options` of transformers' `generate`, such as do_sample; beside them nothing is computed once for rows."""
        with torch.no_grad():
            embeds, mask = self.embed(batch, blind=blind)
        sizes = {"max_new_tokens": max_new_tokens, "num_beams": num_beams}
        return self._reading.generate(embeds, mask, **sizes, **(options or self._shared(batch)))

    @torch.no_grad()
    def choose(self, batch: Batch, tree: CandidateTree, *, blind: bool = False) -> Integer[Tensor, " batch"]:
        """The index of the candidate that greedy decoding among the tree's gives each row. Like `generate` it wants
        the network in evaluation mode."""
        embedded, rows = self.embed(batch, blind=blind), rows_at_once(self.backbone, tree)
        if self.inside is not None and self.inside.by_row and len(batch.input_ids) > rows:
            parts = [batch.rows(own.tolist()) for own in torch.arange(len(batch.input_ids)).split(rows)]
            return torch.cat([self.choose(part, tree, blind=blind) for part in parts])  # each with its own context
        return choose(self._reading, *embedded, tree, **self._shared(batch))

    def _shared(self, batch: Batch) -> dict[str, Any]:
        """What a causal model computes once, as its methods take it: a prompt of all rows, and what those about one
        image have in common."""
        names, prompt, images = set(batch.adapters or ()), 0, None
        if len(names) < 2 and not (self.inside is not None and self.inside.by_row):
            entry = self.bank[names.pop()] if names else self._own
            first = self._constant(entry, batch.features is not None)
            width = entry.adapter.num_virtual_tokens
            prompt = width if first[:1] == ["prompt"] else 0
            if batch.images is not None and "visual" in first:
                length = entry.projection.num_tokens + (width if "prompt" in first[1:] else 0)
                images = SharedImages(length, batch.images)
        return {"prompt_length": prompt, "images": images}

    def _constant(self, entry: BankEntry, visual: bool) -> list[str]:
        """What stands in front of the text and does not depend on it. visual: whether the batch has images."""
        varying = {"text"}
        if isinstance(entry.adapter, Adapter) and entry.adapter.reads_text:
            varying |= {"prompt", "visual"} if self.covers == "text_and_visual" else {"prompt"}
        visual = visual and entry.projection is not None
        order = [name for name in entry.order or self.order if visual or name != "visual"]
        return list(itertools.takewhile(lambda name: name not in varying, order))

    @property
    def shares_images(self) -> bool:
        """Whether rows about one image have its keys and values in common, so that they are worth reading together."""
        return self.backbone.kind == "causal" and "visual" in self._constant(self._own, True)

    @property
    def _own(self) -> BankEntry:
        return BankEntry(self.adapter, self.projection)

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
        longest = int((batch.mask if batch.covered is None else batch.covered).sum(1).max())
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
