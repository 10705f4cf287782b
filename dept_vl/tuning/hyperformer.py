"""HyperFormer++: adapters generated from the task, the layer and the place. Karimi Mahabadi et al., ACL 2021,
arXiv:2106.04489; github.com/rabeehk/hyperformer.

    I = LN(W_2 relu(W_1 [z_t; l_i; p_j] + b_1) + b_2)
    A(x) = x + LN_(g, h)(U gelu(D x + a) + b),   D, a, U, b, g, h each a linear map of I

behind self-attention (j = 1) and feed-forward (j = 0) of every layer i, as in `adapter`. z_t [64] is the embedding of
task t, N(0, 1). Encoder and decoder have a controller each: l [layers, 64], p [2, 64], W_1 [128, 192], W_2 [64, 128],
and the six maps. Maps start at N(0, 0.01^2) without biases (of W_1 and W_2 the reference says nothing: as the six);
|I| = 8, so g and h are about N(0, 0.08^2): noise that is added to each sub-layer, small, but not the frozen model. All
norms of the model train. PEFT has no such method.

For one task every adapter is a constant: a run on a single task trains `adapter` with a norm behind it through a
larger parameterisation. What is generated for a task is kept while nothing trains.

At T5-base with a reduction of 32 a controller has 33,984 weights in front of I and 65 * (2 * 768 * 24 + 24 + 3 * 768)
behind it, 2,581,464 together; two of them and eight tasks' embeddings are 5,163,440, with 47,616 of the norms
5,211,056. The published 638k is an eighth of the former, rounded.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn

from dept_vl.tuning.adapter import Adapters, BottleneckAdapter
from dept_vl.tuning.by_task import EMBEDDING, GeneratedAdapter, Tasks, Weights
from dept_vl.tuning.contract import TUNINGS, BatchText, Frozen, check_size
from dept_vl.tuning.drawn import linear
from dept_vl.tuning.generated import BottleneckGenerator
from dept_vl.tuning.places import Places, layer_of

_HIDDEN, _STD = 128, 0.01


@TUNINGS.register("hyperformer")
class HyperFormer(BottleneckAdapter):
    """num_tasks: the tasks that a batch may name; null is one, or those of `task.mixture`. Raises: BadTuning."""

    groups = ("hypernetwork", "layer_norm")
    published = {"num_tasks": 8}

    def __init__(
        self, *, num_tasks: int | None = None, reduction: int = 32, generator: Generator | None = None
    ) -> None:
        super().__init__(reduction=reduction, generator=generator)
        num_tasks = 1 if num_tasks is None else num_tasks
        check_size("HyperFormer", "num_tasks", num_tasks)
        self.num_tasks = num_tasks
        self._behind: dict[str, GeneratedAdapter] = {}
        self._changed: Callable[[], None] = _nothing

    def attach(self, backbone: Frozen) -> None:
        super().attach(backbone)
        self._changed = backbone.changed  # a causal model keeps a prompt's keys and values, which are a task's
        self.undo(partial(setattr, self, "_changed", _nothing))

    def adapters(self, paths: Sequence[str], known: Places, width: int) -> tuple[Adapters, dict[str, nn.Parameter]]:
        stacks = {path.partition(".")[0]: 1 + layer_of(path) for path in paths}  # paths are in order of layers
        self._tasks, self._behind = Tasks(self.num_tasks, self._generator), {}
        sizes = (width, width // self.reduction, self._generator)
        controllers = {stack: Controller(layers, *sizes) for stack, layers in stacks.items()}
        kinds = (known.feed_forward, known.attention)
        for path in paths:
            place = layer_of(path), kinds.index(path.rpartition(".")[2])
            self._behind[path] = GeneratedAdapter(self._tasks, controllers[path.partition(".")[0]], *place)
        weights = {"task_embedding": self._tasks.embedding}
        for stack, controller in controllers.items():
            weights |= {f"{stack}.controller.{name}": each for name, each in controller.named_parameters()}
        return self._behind, weights

    def context(self, text: BatchText) -> None:
        """The rows' tasks. Raises: ValueError for one that there is not."""
        before = self._tasks.present
        self._tasks.take(text.tasks)
        self.by_row = len(self._tasks.present) > 1
        if self._tasks.present != before:
            self._changed()

    def for_task(self, task: int) -> "HyperFormer":
        """One of that task alone, to be attached where it is served; its weights are copies."""
        alone = HyperFormer(reduction=self.reduction)
        state = {name: weight.detach().clone() for name, weight in self.state_dict().items()}
        state["weights.task_embedding"] = state["weights.task_embedding"][task : task + 1]
        alone.hold(state)
        alone.token_dim = self.token_dim
        return alone

    def train(self, mode: bool = True) -> "HyperFormer":
        self._forget()
        return super().train(mode)

    def _apply(self, fn: Any, recurse: bool = True) -> nn.Module:
        self._forget()
        return super()._apply(fn, recurse)

    def _forget(self) -> None:
        for each in self._behind.values():
            each.kept.clear()


def _nothing() -> None:
    pass


class Controller(nn.Module):
    """The hypernetwork of one stack."""

    def __init__(self, layers: int, d_model: int, bottleneck: int, generator: Generator | None) -> None:
        super().__init__()
        draw = partial(nn.init.normal_, std=_STD, generator=generator)
        self.layers = nn.Parameter(torch.empty(layers, EMBEDDING).normal_(generator=generator))
        self.kinds = nn.Parameter(torch.empty(2, EMBEDDING).normal_(generator=generator))
        self.hidden, self.out = linear(3 * EMBEDDING, _HIDDEN, draw), linear(_HIDDEN, EMBEDDING, draw)
        self.norm = nn.LayerNorm(EMBEDDING)
        self.bottleneck = BottleneckGenerator(EMBEDDING, d_model, bottleneck, lambda fan: draw)
        self.gain, self.bias = linear(EMBEDDING, d_model, draw), linear(EMBEDDING, d_model, draw)

    def forward(self, tasks: Float[Tensor, "some embedding"], layer: int, kind: int) -> Weights:
        place = torch.cat([self.layers[layer], self.kinds[kind]]).expand(len(tasks), -1)
        features = self.norm(self.out(F.relu(self.hidden(torch.cat([tasks, place], dim=1)))))  # [some, embedding]
        return *self.bottleneck(features), self.gain(features), self.bias(features)
