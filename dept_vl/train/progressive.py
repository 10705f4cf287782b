"""Progressive training (FPT): a run's first steps on partial models, evaluation always on the full one.

Huang et al., "FPT: Improving Prompt Tuning Efficiency via Progressive Training", Findings of EMNLP 2022. The adapter
and the optimizer's state go on unchanged from stage to stage; `train` asks for the stage of each step and saves what
`Progressive.state` gives.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Integer
from torch import Tensor

from dept_vl.backbones import Submodel, evenly, invert, neuron_scores, partial, sort_neurons, whole
from dept_vl.data.batches import Encoded, Gather
from dept_vl.model import Batch, Network

Orders = list[Integer[Tensor, " neuron"]]  # of each layer's neurons, the encoder's layers first
_SCORE_BATCH = 100  # rows


@dataclasses.dataclass(frozen=True)
class Stage:
    """`part` is what the steps from `from_step` (counted from 1) to the next stage compute with."""

    from_step: int
    part: Submodel

    def facts(self) -> dict[str, int | list[int]]:
        """For results.json."""
        return {"from_step": self.from_step} | {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self.part).items()
        }


def plan_stages(
    full: Submodel, *, kind: str, shares: Sequence[float], fractions: Sequence[float], parts: str, max_steps: int
) -> tuple[Stage, ...]:
    """The stages of a run of `max_steps`; a stage whose share comes to no step is left out.

    kind: "depth", "width" or "compound". parts: "encoder" or "encoder_decoder", the stacks that are reduced. Of a stack
    of two layers or more at least two stay, the first and the last.
    """
    ends = [round(max_steps * float(share)) for share in np.cumsum(shares)]
    starts = [0, *ends[:-1]]
    return tuple(
        Stage(start + 1, _part(full, fraction, kind, parts))
        for start, end, fraction in zip(starts, ends, fractions, strict=True)
        if end > start
    )


def _part(full: Submodel, fraction: float, kind: str, parts: str) -> Submodel:
    stacks = ("encoder", "decoder") if parts == "encoder_decoder" else ("encoder",)
    changes: dict[str, Any] = {}
    for stack in stacks:
        layers, neurons = len(getattr(full, f"{stack}_layers")), getattr(full, f"{stack}_neurons")
        if kind in ("depth", "compound"):
            changes[f"{stack}_layers"] = evenly(layers, max(min(2, layers), round(layers * fraction)))
        if kind in ("width", "compound"):
            changes[f"{stack}_neurons"] = max(1, round(neurons * fraction))
    return dataclasses.replace(full, **changes)


class Progressive:
    """The stages of one run over one network, and the order of its neurons.

    Neurons are put in order once, when the first step is entered, or with `repeated` at the start of every narrow
    stage, with the adapter as it is then. `close` puts them back; a resumed run takes the order from its checkpoint.
    """

    def __init__(
        self, network: Network, stages: Sequence[Stage], order: Callable[[], tuple[Orders, int]],
        *, rule: str = "", repeated: bool = False, answers: bool = False,
    ) -> None:  # fmt: skip
        """`order` gives each layer's neurons, the most important first, and the floating-point operations that finding
        out took; it is called only where a stage is narrow. `rule` names the order. answers: whether evaluation goes
        through the stage's partial model too."""
        self.rule = rule
        self.network, self.stages, self.scoring_flops = network, tuple(stages), 0
        self._order = order
        self._orders: Orders | None = None
        self._repeated, self._answers, self._scored_at = repeated, answers, 0  # the step from which the order is
        self._full = whole(network.backbone)
        self._now: Stage | None = None

    def enter(self, step: int) -> None:
        """Lets the training steps from `step` on go through that step's partial model."""
        stage = [each for each in self.stages if each.from_step <= step][-1]
        if stage is self._now:
            return
        narrow = any(self._is_narrow(each.part) for each in self.stages)
        again = self._repeated and self._is_narrow(stage.part) and self._scored_at < stage.from_step
        if narrow and (self._orders is None or again):
            self._put_back()
            orders, flops = self._order()
            self.scoring_flops, self._scored_at = self.scoring_flops + flops, stage.from_step
            self._sort(orders)
        full = stage.part == self._full
        view = None if full else partial(self.network.backbone, stage.part)
        self.network.read_through(view, answers=self._answers)
        self._now = stage

    def _is_narrow(self, part: Submodel) -> bool:
        return (part.encoder_neurons, part.decoder_neurons) != (self._full.encoder_neurons, self._full.decoder_neurons)

    def _sort(self, orders: Orders) -> None:
        sort_neurons(self.network.backbone, orders)
        self._orders = orders

    def state(self) -> dict[str, Any]:
        """For a checkpoint: tensors and plain numbers."""
        return {"orders": self._orders, "scoring_flops": self.scoring_flops, "scored_at": self._scored_at}

    def load_state(self, state: dict[str, Any]) -> None:
        """Before the first step that is entered."""
        self.scoring_flops, self._scored_at = state["scoring_flops"], state.get("scored_at", 1)
        if state["orders"] is not None:
            self._sort(state["orders"])

    def close(self) -> None:
        """The network as it was: training through the full model, every neuron where it was loaded."""
        self.network.read_through(None)
        self._now = None
        self._put_back()

    def _put_back(self) -> None:
        if self._orders is not None:
            sort_neurons(self.network.backbone, invert(self._orders))
            self._orders = None

    def __enter__(self) -> "Progressive":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def by_activation(network: Network, batches: Iterable[Batch]) -> tuple[Orders, int]:
    """Each layer's neurons by mean |activation| on `batches` with the adapter as it is, the greatest first; and the
    floating-point operations of those forward passes."""
    training, flops = network.training, 0

    def rows() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        nonlocal flops
        for batch in batches:
            embeds, mask = network.embed(batch)
            flops += network.backbone.shape.forward_flops(*mask.shape, batch.labels.shape[1])
            yield embeds, mask, batch.labels

    network.eval()
    try:
        with torch.no_grad():
            scores = neuron_scores(network.backbone, rows())
    finally:
        network.train(training)
    return [score.argsort(descending=True, stable=True).cpu() for score in scores], flops


def at_random(full: Submodel, seed: int) -> tuple[Orders, int]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randperm(number, generator=generator) for number in _neurons(full)], 0


def as_they_stand(full: Submodel) -> tuple[Orders, int]:
    return [torch.arange(number) for number in _neurons(full)], 0


def _neurons(full: Submodel) -> list[int]:
    return [full.encoder_neurons] * len(full.encoder_layers) + [full.decoder_neurons] * len(full.decoder_layers)


def scoring_batches(
    encoded: Encoded, gather: Gather | None, *, rows: int, seed: int, device: torch.device
) -> Iterator[Batch]:
    """`rows` training rows drawn from `seed` (all of them where there are fewer), the same on every process."""
    draw = np.random.default_rng([seed, 2])
    chosen = draw.permutation(len(encoded))[:rows]
    for start in range(0, len(chosen), _SCORE_BATCH):
        part = chosen[start : start + _SCORE_BATCH]
        yield encoded.collate(part, gather, draw.random(len(part))).to(device)
