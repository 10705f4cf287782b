"""Who holds gradients and the optimizer's state: every process all of it, or under DeepSpeed ZeRO each a part.

The loop and what it carries (`train.state`) know an `Engine`; nothing else knows DeepSpeed or FSDP. Whatever it is,
between two steps each process has the trained weights whole, but for those in the model's blocks under a method that
trains all of them (`Tuning.sharded`). Weights and the optimizer's state are read and put back in the form that torch's
AdamW has in one process: a checkpoint does not tell how many processes wrote it.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from dept_vl.model import Batch, Network


class Engine:
    """One process, or several under DistributedDataParallel."""

    def __init__(
        self, accelerator: Accelerator, network: Network, optimizer: torch.optim.Optimizer, max_grad_norm: float | None
    ) -> None:
        self.accelerator, self.network, self.optimizer = accelerator, network, optimizer
        self.max_grad_norm = max_grad_norm

    def prepare(self) -> None:
        """Before the first step, and behind `load_optimizer`."""
        self._wrapped, self._stepper = self.accelerator.prepare(self.network, self.optimizer)

    def learn(self, batch: Batch, *, last: bool) -> Tensor:
        """The mean loss of this process's rows; its gradients are added up. `last`: a step comes next, so the processes
        share them now."""
        with self.accelerator.accumulate(self._wrapped):
            with self.accelerator.autocast():
                loss = self._wrapped(batch).mean()
            self.accelerator.backward(loss)  # outside autocast: fp32 weights get fp32 gradients
        return loss.detach()

    def gradients(self) -> Mapping[str, Iterable[Tensor]]:
        """Of the whole batch, by group of weights; every process has to ask. A weight kept in parts has parts of it."""
        return {
            name: [weight.grad for weight in group if weight.grad is not None]
            for name, group in self.network.param_groups().items()
        }

    def norms(self) -> list[Tensor]:
        """Of the gradients of each group, in the order of `gradients`; every process has to ask."""
        return [joint_norm(group) for group in self.gradients().values()]

    def step(self, norm: float) -> None:
        """A step of the optimizer with gradients whose joint norm before clipping is `norm`."""
        if self.max_grad_norm is not None and math.isfinite(norm) and norm > self.max_grad_norm:
            for gradient in (each for group in self.gradients().values() for each in group):
                gradient.mul_(self.max_grad_norm / (norm + 1e-6))
        self._stepper.step()
        self._stepper.zero_grad(set_to_none=True)

    @property
    def in_parts(self) -> set[nn.Parameter]:
        """The trained weights that may be kept in parts: those in the blocks of a model that trains as a whole."""
        inside = self.network.inside
        if inside is None or not inside.sharded:
            return set()
        blocks = self.network.backbone.blocks()
        return {weight for block in blocks for weight in block.parameters() if weight.requires_grad}

    def trained_state(self) -> dict[str, Tensor]:
        """`Network.trained_state` with every weight whole, in the main process; every process has to ask."""
        return self.network.trained_state() | self.joined_parts()

    def joined_parts(self) -> dict[str, Tensor]:
        """The weights that are kept in parts, by their names in `trained_state`: whole on the main process's CPU, empty
        tensors in the others, which have to ask too."""
        return {}

    def load_trained_state(self, state: Mapping[str, Tensor]) -> None:
        """Into a network that has been prepared. Raises: MismatchedParts."""
        self.network.load_trained_state(state)

    def optimizer_state(self) -> dict[str, Any]:
        """Every process has to ask."""
        return self.optimizer.state_dict()

    def load_optimizer(self, state: dict[str, Any]) -> None:
        """Before `prepare`. Raises: KeyError, ValueError for the state of other groups."""
        self.optimizer.load_state_dict(state)


class ShardedBlocks(Engine):
    """FSDP2: the model's blocks are kept in parts and gathered one by one as they are read. Weights that train beside
    frozen ones stay whole in every process, and the processes average their gradients."""

    def prepare(self) -> None:
        from torch.distributed.fsdp import fully_shard

        blocks, sharded = self.network.backbone.blocks(), self.in_parts
        whole = {weight for weight in self.network.parameters() if weight.requires_grad} - sharded
        places = {
            weight: (module, name)
            for block in blocks
            for module in block.modules()
            for name, weight in module.named_parameters(recurse=False)
            if weight in sharded
        }
        for block in blocks:
            fully_shard(block, reshard_after_forward=True, ignored_params=whole)  # else a block stays whole
        if sharded:
            self._train_parts({weight: getattr(*place) for weight, place in places.items()})
        self.network.backbone.synced = True
        self._stepper = self.optimizer

    def _train_parts(self, moved: Mapping[nn.Parameter, nn.Parameter]) -> None:
        """From now on train the parts that FSDP made of weights, with the state that these had."""
        self.network.inside.replace(moved)
        for group in self.optimizer.param_groups:
            group["params"] = [moved.get(weight, weight) for weight in group["params"]]
            group["foreach"] = False  # its fast form cannot step parts and whole weights together
        for weight, part in moved.items():
            for name, value in self.optimizer.state.pop(weight, {}).items():
                self.optimizer.state[part][name] = _like(value, part) if value.dim() else value

    def learn(self, batch: Batch, *, last: bool) -> Tensor:
        with self.accelerator.autocast():
            loss = self.network(batch).mean()
        (loss / self.accelerator.gradient_accumulation_steps).backward()
        if last:
            for gradient in (each for group in self.gradients().values() for each in group):
                if not _is_part(gradient):  # of those FSDP has made the mean
                    torch.distributed.all_reduce(gradient)
                    gradient.div_(self.accelerator.num_processes)
        return loss.detach()

    def joined_parts(self) -> dict[str, Tensor]:
        state = self.network.trained_state().items()
        return {name: self._whole(value) for name, value in state if _is_part(value)}

    def load_trained_state(self, state: Mapping[str, Tensor]) -> None:
        own = self.network.trained_state()
        self.network.load_trained_state(
            {name: _like(value, own[name]) if name in own else value for name, value in state.items()}
        )

    def optimizer_state(self) -> dict[str, Any]:
        state = self.optimizer.state_dict()
        moments = {
            number: {name: self._whole(value) for name, value in each.items()}
            for number, each in state["state"].items()
        }
        groups = [{**group, "foreach": self.optimizer.defaults["foreach"]} for group in state["param_groups"]]
        return {"state": moments, "param_groups": groups}

    def _whole(self, value: Tensor) -> Tensor:
        if not _is_part(value):
            return value
        whole = value.detach().full_tensor()
        return whole.cpu() if self.accelerator.is_main_process else whole.new_empty(0)


def joint_norm(tensors: Iterable[Tensor]) -> Tensor:
    """The joint norm. Where some are parts every process has to ask."""
    tensors = list(tensors)
    parts = [each for each in tensors if _is_part(each)]
    norm = torch.nn.utils.get_total_norm([each for each in tensors if not _is_part(each)])
    return norm.hypot(torch.nn.utils.get_total_norm(parts).full_tensor()) if parts else norm


def _is_part(value: Tensor) -> bool:
    """Whether FSDP keeps it in parts: a DTensor, whose class takes a second to import."""
    return hasattr(value, "full_tensor")


def _like(value: Tensor, part: Tensor) -> Tensor:
    """This process's part of a whole tensor, cut as `part` is."""
    if not _is_part(part):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(part.device), part.device_mesh, part.placements)
