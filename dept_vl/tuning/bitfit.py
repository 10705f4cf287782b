"""BitFit. Ben Zaken, Ravfogel and Goldberg, ACL 2022, arXiv:2106.10199.

    y = W x + b,   y = w * x / rms(x) + b

Only biases train. T5 and LLaMA have none, so, as the code behind DePT's tables does, a zero b is added to every linear
map (q, k, v, o, the feed-forward, the head) and to every norm; the start is the frozen model. A model that has biases,
GPT-2, OPT, BART, Qwen2 (of q, k and v), Falcon (of norms), trains those and gets no others. PEFT has no such method:
its LoRA with bias "all" trains existing biases alone.

T5-base: encoder 102,144, decoder 148,224, head 32,100 (rows of the table), 282,468 in all, the published 280k.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from dept_vl.tuning.contract import TUNINGS, Groups, Tuning, refuse_quantised
from dept_vl.tuning.places import dead_keys, modules_named, places_of

DEAD = "q (k + b) = q k + q b, and the softmax over keys cancels q b, which is the same for all of them"


@TUNINGS.register("bitfit")
class BitFit(Tuning):
    """The biases of keys are dead where no rotation follows: T5's, BART's, OPT's."""

    groups = ("bias",)
    published = {}

    def place(self, model: PreTrainedModel) -> Groups:
        self._biases = Biases(self, model)
        return {"bias": self._biases.by_name}

    def merge(self) -> None:
        self._biases.merge()


class Biases:
    """The biases of a model that train: its own, or added ones. `by_name`: each by its place."""

    def __init__(self, tuning: Tuning, model: PreTrainedModel) -> None:
        self._tuning = tuning
        self._linear: list[tuple[nn.Linear, nn.Parameter, Callable[[], None]]] = []
        own = {name: each for name, each in model.named_parameters() if name.rpartition(".")[2] == "bias"}
        self.by_name = {name: tuning.own(model, each) for name, each in own.items()}
        if not own:
            self._add(model)
        self._tuning.dead |= {f"{path}.bias": DEAD for path in dead_keys(model) if f"{path}.bias" in self.by_name}

    def _add(self, model: PreTrainedModel) -> None:
        known = places_of(model, type(self._tuning).__name__)
        norms = dict(modules_named(model, known.norms))
        for path, module in model.named_modules():
            if not isinstance(module, nn.Linear) and path not in norms:
                continue
            size = _width(module) if path in norms else module.out_features
            bias = self.by_name[f"{path}.bias"] = nn.Parameter(torch.zeros(size))
            remove = self._tuning.hook(module, partial(_adding, bias))
            if path not in norms:
                self._linear.append((module, bias, remove))

    def merge(self) -> None:
        """Biases of linear maps become the maps' own; a norm of T5's has no place for one, so its bias stays beside."""
        for module, _, _ in self._linear:
            refuse_quantised(module, f"{type(self._tuning).__name__}, to be merged")
        for module, bias, remove in self._linear:
            remove()
            module.bias = nn.Parameter(bias.detach().to(module.weight.dtype), requires_grad=False)
            self._tuning.undo(partial(setattr, module, "bias", None))


def _width(norm: nn.Module) -> int:
    """Of what it scales, also where ZeRO-3 keeps the scale in parts: the model's, a head's or all heads'."""
    if norm.weight is None:  # it scales nothing, as in Galactica, an OPT
        return norm.normalized_shape[0]
    return getattr(norm.weight, "ds_shape", norm.weight.shape)[0]


def _adding(bias: nn.Parameter, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    """A forward hook, its bias bound first."""
    return output + bias.to(output.dtype)
