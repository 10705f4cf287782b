"""Methods that PEFT has: its layers around the model's own, its names, its file format.

peft is imported where such a method attaches or is written: it takes seconds, and most runs have none.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from dept_vl.tuning.contract import BadTuning, Groups, Tuning, refuse_quantised

_NAME = "default"  # of the adapter within PEFT; its saved files leave it out


class PeftLayers(Tuning):
    """PEFT's `tuner` puts in the layers that `peft_config` describes. `target_modules` null is PEFT's own choice for
    the type of model, or that of `chosen` where PEFT has none; once attached it names what was chosen."""

    chosen: ClassVar[Mapping[str, Sequence[str]]]  # by type of model, in the make of PEFT's own
    target_modules: list[str] | None

    def __init__(self, generator: Generator | None) -> None:
        super().__init__()
        self._seed = None if generator is None else generator.initial_seed()

    @abstractmethod
    def peft_config(self, **more: Any) -> Any:
        """These arguments in PEFT's class of them, a PeftConfig, with `more`."""

    @abstractmethod
    def tuner(self) -> Callable[..., Any]:
        """PEFT's class of the method, a BaseTuner: from model, config and name to a model with its layers."""

    def place(self, model: PreTrainedModel) -> Groups:
        from peft.tuners.tuners_utils import BaseTunerLayer

        self.undo(partial(_take_out, model))  # also what was put in before PEFT refused the rest
        before = {id(weight) for weight in model.parameters()}
        if self.target_modules is None and model.config.model_type in self.chosen:
            self.choose(list(self.chosen[model.config.model_type]))
        config = self.peft_config(fan_in_fan_out=any(isinstance(each, Conv1D) for each in model.modules()))
        with torch.random.fork_rng(devices=[], enabled=self._seed is not None):
            if self._seed is not None:
                torch.default_generator.manual_seed(self._seed)  # PEFT draws from it, as after torch.manual_seed
            try:
                self.tuner()(model, config, _NAME)
            except ValueError as error:
                kind = model.config.model_type
                raise BadTuning(
                    f"{type(self).__name__}: wanted target_modules of this {kind} model, given {self.target_modules} "
                    f"({error})"
                ) from error
        self._layers = [each for each in model.modules() if isinstance(each, BaseTunerLayer)]
        self._added += self._layers
        self.take_choice(config)
        added = {name: each for name, each in model.named_parameters() if id(each) not in before}
        return {self.groups[0]: {name.replace(f".{_NAME}", ""): each for name, each in added.items()}}

    def choose(self, target_modules: list[str]) -> None:
        """Fill in what was left null."""
        self.target_modules = target_modules

    def take_choice(self, config: Any) -> None:
        """Keep what PEFT chose for arguments that were left to it."""
        self.target_modules = sorted(config.target_modules)

    def merge(self) -> None:
        for layer in self._layers:
            refuse_quantised(layer, f"{type(self).__name__}, to be merged")
        for layer in self._layers:
            base = layer.get_base_layer()
            for weight in base.parameters():
                self.undo(partial(_restore, weight, weight.detach().clone()))
            layer.merge()

    def to_peft(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        config = self.peft_config(inference_mode=True).to_dict()
        plain = {name: sorted(each) if isinstance(each, set) else each for name, each in config.items()}
        weights = dict(self.weights.named_parameters())
        return plain, {f"base_model.model.{name}": each.detach().cpu().contiguous() for name, each in weights.items()}


def names(method: str, argument: str, given: Any) -> list[str] | None:
    """Names of modules, or None. Raises: BadTuning."""
    if given is not None and not (isinstance(given, list) and given and all(isinstance(each, str) for each in given)):
        raise BadTuning(f"{method}: wanted {argument} to be a list of names of modules, or null, given {given!r}")
    return given


def _take_out(model: PreTrainedModel) -> None:
    """Put the model's own layers back in the places of PEFT's."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, layer in [each for each in model.named_modules() if isinstance(each[1], BaseTunerLayer)]:
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, layer.get_base_layer())


def _restore(weight: nn.Parameter, values: Tensor) -> None:
    """Values from before a merge: PEFT's own unmerging rounds."""
    weight.data = values
