"""What a tuning is: trained weights inside the frozen model, which can be taken off again.

    tuning.attach(backbone)    the backbone computes with the trained weights in it
    tuning.detach()            the backbone is the frozen one again, bit for bit

A method writes `place`, which puts its weights on the model's modules and returns them by group. What it changes there
it changes through `hook`, `own` and `undo`, so that `detach` is derived.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from dept_vl.part import Part, misfits
from dept_vl.registry import Registry, arguments_of, check_integer

Groups = dict[str, dict[str, nn.Parameter]]
"""The trained weights by the name of their group, then by their place in the model, as decoder.block.0.layer.0..."""
Holders = list[tuple[nn.Module, str]]  # modules that hold a weight, and its name there


def gathered(weights: nn.Parameter | list[nn.Parameter]) -> AbstractContextManager[None]:
    """Within it weights that ZeRO-3 keeps in parts are whole."""
    from peft.utils.integrations import gather_params_ctx  # peft is imported by methods that attach: it takes seconds

    return gather_params_ctx(weights)


class BadTuning(ValueError):
    """A method that this frozen model cannot have, or arguments that do not fit it."""


class UnfitTuning(ValueError):
    """Saved weights that do not fit the frozen model to which they are attached."""


@runtime_checkable
class Frozen(Protocol):
    """What a tuning asks of a backbone. `attached` names the method inside it, if any; `max_positions` is how many
    tokens a row may have, None without a limit."""

    if TYPE_CHECKING:  # from Python 3.12 on `isinstance` does not find the modules of a module
        model: PreTrainedModel
    d_model: int
    max_positions: int | None
    attached: str | None

    def identity(self) -> dict[str, str | None]: ...

    def embed(self, ids: Tensor) -> Tensor: ...

    def loss(self, embeds: Tensor, mask: Tensor, labels: Tensor) -> Tensor: ...

    def changed(self) -> None:
        """Forgets what it has computed with the weights that it had."""


@runtime_checkable
class BatchText(Protocol):
    """What a method may read of a batch: `dept_vl.adapters.Text`. tasks: the index of each row's task; None: all rows
    are of task 0."""

    embeds: Tensor
    mask: Tensor
    ids: Tensor | None
    tasks: Any


class Tuning(Part):
    """The contract. A constructor takes plain keyword arguments, and `generator` where the method draws, and keeps each
    argument as an attribute of its name. Weights exist once it is attached, or read from a file; they stay fp32
    whatever the compute type.

    examples: how many training examples of the task `look_at` wants before the first attach; most methods want none.
    groups: names of the groups of `param_groups`. dead: trained weights that get no gradient, each with its derivation.
    token_dim: the width of the model to which it was attached, 0 before. by_row: whether the rows of the batch at hand
    are read with weights of their own, so that no row's keys and values are another's.
    """

    groups: ClassVar[tuple[str, ...]]
    published: ClassVar[Mapping[str, Any] | None] = None  # the arguments of the papers' tables on T5-base
    reads_weights: ClassVar[bool] = False  # whether it needs the values of the model's own matrices
    sharded: ClassVar[bool] = False  # whether FSDP and ZeRO-3 may keep its weights in parts: they are as many as frozen
    examples: int = 0

    def __init__(self) -> None:
        super().__init__()
        self.token_dim = 0
        self.by_row = False
        self.dead: dict[str, str] = {}
        self.weights = nn.Module()
        self._groups: Groups = {}
        self._undoing: list[Callable[[], None]] = []
        self._holders: dict[nn.Parameter, Holders] = {}  # of the frozen model's own weights
        self._added: list[nn.Module] = []  # modules inside the model that follow this part's mode, as dropout does

    @abstractmethod
    def place(self, model: PreTrainedModel) -> Groups:
        """Put trained weights on `model` and return them. Raises: BadTuning."""

    def attach(self, backbone: Frozen) -> None:
        """Put the weights into the frozen model: new ones, or those that this part holds.

        Raises: BadTuning for another method in it; UnfitTuning.
        """
        name = type(self).__name__
        if backbone.attached is not None:
            raise BadTuning(
                f"{name}: wanted a frozen model without a method inside, given one with {backbone.attached}"
            )
        if self.reads_weights:
            refuse_quantised(backbone.model, name)
        backbone.identity()  # of the frozen model, while it is one
        backbone.attached = name
        self.undo(partial(self._release, backbone))
        held = dict(self.weights.named_parameters())
        try:
            with torch.device("meta" if held else "cpu"):  # sizes that a file claims take no memory
                self._groups = self.place(backbone.model)
            self._fill(held, backbone.model.device)
        except Exception:
            self.detach()
            raise
        self.token_dim = backbone.d_model
        backbone.changed()
        self.train(self.training)

    def _fill(self, held: Mapping[str, nn.Parameter], device: torch.device) -> None:
        """The weights on the model's device, with the values that this part holds, if any."""
        own = {name: weight for group in self._groups.values() for name, weight in group.items()}
        if held and (wrong := misfits(own, held)):
            raise UnfitTuning(f"{type(self).__name__}: weights that do not fit this frozen model: {'; '.join(wrong)}")
        for name, weight in own.items():
            value = nn.Parameter(held.get(name, weight).detach().to(device, torch.float32, copy=bool(held)))
            torch.utils.swap_tensors(weight, value)  # the object stays the one that the model computes with
        self.weights = _tree(own)

    def detach(self) -> None:
        """Give back the frozen model. The weights stay here, to be attached again."""
        while self._undoing:
            self._undoing.pop()()
        self._added = []
        self._holders = {}

    def _release(self, backbone: Frozen) -> None:
        backbone.attached = None
        backbone.changed()

    def look_at(self, backbone: Frozen, examples: Iterable[tuple[Tensor, Tensor, Tensor]]) -> None:
        """Learn from `examples` of the task how to start: ids [1, seq], mask [1, seq] and labels [1, target] each."""

    def context(self, text: BatchText) -> None:
        """Take what the method needs of a batch, for the passes over it that follow. Most need nothing."""

    def hold(self, state: Mapping[str, Tensor]) -> None:
        """Take the weights of a file, by the names of `state_dict`, until `attach` finds whether they fit.

        Raises: KeyError for names that are no weights of a module.
        """
        if strange := [name for name in state if not name.startswith("weights.")]:
            raise KeyError(f"wanted names that begin with weights., given {strange[0]}")
        self.weights = _tree({name.removeprefix("weights."): nn.Parameter(each) for name, each in state.items()})

    def replace(self, moved: Mapping[nn.Parameter, nn.Parameter]) -> None:
        """Train what stands in the model now in place of the weights that are the keys: their parts, under FSDP."""
        self._groups = {
            name: {place: moved.get(weight, weight) for place, weight in group.items()}
            for name, group in self._groups.items()
        }
        self.weights = _tree({name: weight for group in self._groups.values() for name, weight in group.items()})

    def undo(self, function: Callable[[], Any]) -> None:
        """`detach` calls `function`, the newest first."""
        self._undoing.append(function)

    def hook(self, module: nn.Module, function: Callable[..., Any]) -> Callable[[], None]:
        """`function(module, inputs, output)` gives the module's output from now on, until `detach`, or until what is
        returned is called."""
        remove = module.register_forward_hook(function).remove
        self.undo(remove)
        return remove

    def own(self, model: PreTrainedModel, weight: nn.Parameter) -> nn.Parameter:
        """A trained copy in place of a weight of the model's own, wherever it stands (T5's head and table are one).

        Raises: BadTuning for a model that is not held in float32.
        """
        if weight.dtype != torch.float32:
            raise BadTuning(
                f"{type(self).__name__} trains weights of the model's own: wanted backbone.dtype float32, given "
                f"{str(weight.dtype).removeprefix('torch.')}; bf16: true computes in bfloat16 beside it"
            )
        with gathered(weight):
            copy = nn.Parameter(weight.detach().clone())
        places = self._places(model)[weight]
        _put(copy, places)
        self.undo(partial(_put_back, weight, places))
        return copy

    def _places(self, model: PreTrainedModel) -> dict[nn.Parameter, Holders]:
        """Modules that hold each weight, and its name there, of the model as it was at the first call."""
        if not self._holders:
            for module in model.modules():
                for name, weight in module._parameters.items():
                    if weight is not None:
                        self._holders.setdefault(weight, []).append((module, name))
        return self._holders

    def train(self, mode: bool = True) -> "Tuning":
        super().train(mode)
        for module in self._added:
            module.train(mode)
        return self

    def merge(self) -> None:
        """Write the weights into the model's own, for inference; `detach` still gives back the frozen ones.

        Raises: BadTuning where the method cannot be written so.
        """
        raise BadTuning(f"{type(self).__name__}: wanted a method that merges (LoRA, (IA)^3, BitFit)")

    def to_peft(self) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """adapter_config.json and the weights in PEFT's own format; None where PEFT has no such method."""
        return None

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {name: list(group.values()) for name, group in self._groups.items()}

    def config(self) -> dict[str, Any]:
        """The constructor's arguments by name, for JSON."""
        return {name: getattr(self, name) for name in arguments_of(type(self))}

    def start_from(self, source: "Tuning") -> tuple[str, ...]:
        """Copy the weights that both have in one shape; return what was not copied, a line each."""
        own, given = self.state_dict(), source.state_dict()
        same = {name for name in own if name in given and given[name].shape == own[name].shape}
        with torch.no_grad():
            for name in same:
                own[name].copy_(given[name])
        left = len(own) - len(same)
        return (f"{left} of {len(own)} tensors inside the model start anew",) if left else ()


def refuse_quantised(model: nn.Module, method: str) -> None:
    """Raises: BadTuning for a model whose matrices are packed into integers: their numbers are no weights."""
    packed = next((name for name, each in model.named_parameters() if not each.is_floating_point()), None)
    if packed is not None:
        raise BadTuning(f"{method}: wanted a model in floats (backbone.load_in null), given one with {packed} packed")


def _put(weight: nn.Parameter, places: Holders) -> None:
    for module, name in places:
        setattr(module, name, weight)


def _put_back(weight: nn.Parameter, places: Holders) -> None:
    """The frozen weight, on the device where its trained copy is now."""
    module, name = places[0]
    weight.data = weight.data.to(getattr(module, name).device)
    _put(weight, places)


check_size = partial(check_integer, BadTuning)
"""check_size(method, name, value, minimum=1) raises BadTuning unless `value` is an integer >= minimum."""


def _tree(weights: Mapping[str, nn.Parameter]) -> nn.Module:
    """A module that has these weights under these dotted names."""
    root = nn.Module()
    for name, weight in weights.items():
        *path, last = name.split(".")
        module = root
        for each in path:
            if each not in module._modules:
                module.add_module(each, nn.Module())
            module = module._modules[each]
        module.register_parameter(last, weight)
    return root


TUNINGS: Registry[type[Tuning]] = Registry("tuning", entry_points="dept_vl.tunings")
