"""Who holds gradients and the optimizer's state: every process all of it, or under DeepSpeed ZeRO each a part.

The loop and what it carries (`train.state`) know an `Engine`; nothing else knows DeepSpeed or FSDP. Whatever it is,
between two steps each process has the trained weights whole, and the optimizer's state is read and put back in the
form that torch's AdamW has in one process: a checkpoint does not tell how many processes wrote it.
"""

import math
import os
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor

from dept_vl.model import Batch, Network

_MOMENTS = ("exp_avg", "exp_avg_sq")


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

    def gradients(self) -> dict[str, list[Tensor]]:
        """Of the whole batch, by group of weights; every process has to ask."""
        return {
            name: [weight.grad for weight in group if weight.grad is not None]
            for name, group in self.network.param_groups().items()
        }

    def step(self, norm: float) -> None:
        """A step of the optimizer with gradients whose joint norm before clipping is `norm`."""
        if self.max_grad_norm is not None and math.isfinite(norm) and norm > self.max_grad_norm:
            for gradient in (each for group in self.gradients().values() for each in group):
                gradient.mul_(self.max_grad_norm / (norm + 1e-6))
        self._stepper.step()
        self._stepper.zero_grad(set_to_none=True)

    def optimizer_state(self) -> dict[str, Any]:
        """Every process has to ask."""
        return self.optimizer.state_dict()

    def load_optimizer(self, state: dict[str, Any]) -> None:
        """Before `prepare`. Raises: KeyError, ValueError for the state of other groups."""
        self.optimizer.load_state_dict(state)


class ShardedBlocks(Engine):
    """FSDP2: the frozen model's blocks are kept in parts and gathered one by one as they are read. The trained weights
    stay whole in every process, and the processes average their gradients."""

    def prepare(self) -> None:
        from torch.distributed.fsdp import fully_shard

        trained = {weight for weight in self.network.parameters() if weight.requires_grad}  # they stay whole
        for block in self.network.backbone.blocks():
            fully_shard(block, reshard_after_forward=True, ignored_params=trained)  # else a block stays whole
        self.network.backbone.synced = True
        self._stepper = self.optimizer

    def learn(self, batch: Batch, *, last: bool) -> Tensor:
        with self.accelerator.autocast():
            loss = self.network(batch).mean()
        (loss / self.accelerator.gradient_accumulation_steps).backward()
        if last:
            for gradient in (each for group in self.gradients().values() for each in group):
                torch.distributed.all_reduce(gradient)
                gradient.div_(self.accelerator.num_processes)
        return loss.detach()


class Zero(Engine):
    """DeepSpeed ZeRO: optimizer states, from stage 2 on gradients and in stage 3 the frozen weights are kept in parts.
    It clips in its own step, as the other engines do: all groups together."""

    _awaiting: dict[int, dict[str, Tensor]] | None = None  # states that `prepare` puts into their parts

    def prepare(self) -> None:
        self.accelerator.deepspeed_plugin.deepspeed_config["gradient_clipping"] = self.max_grad_norm or 0.0
        self._weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        self._engine, stepper = self.accelerator.prepare(self.network, self.optimizer)
        self._zero = stepper.optimizer
        if self._stage == 3:
            self._keep_trained_whole()
            self.network.backbone.synced = True
        if self._awaiting:
            self._put_back()

    @property
    def _stage(self) -> int:
        return self._engine.zero_optimization_stage()

    def _keep_trained_whole(self) -> None:
        """The trained weights are gathered after each step and stay so, for checkpoints and diagnostics read them
        outside of a forward pass too. They are few; what is worth sharing out are the frozen ones."""
        kept = self._zero.persistent_parameters
        kept += [weight for weight in self._weights if not weight.ds_persist]
        for weight in self._weights:
            weight.ds_persist = weight.is_external_param = True  # the first alone is not heeded in evaluations
        kept[0].all_gather(kept)

    def learn(self, batch: Batch, *, last: bool) -> Tensor:
        self._engine.set_gradient_accumulation_boundary(last)
        loss = self._engine(batch).mean()
        self._engine.backward(loss)
        return loss.detach()

    def gradients(self) -> dict[str, list[Tensor]]:
        from deepspeed.utils import safe_get_full_grad

        groups = self.network.param_groups()
        return {name: [safe_get_full_grad(weight) for weight in group] for name, group in groups.items()}

    def step(self, norm: float) -> None:
        self._engine.step()

    def optimizer_state(self) -> dict[str, Any]:
        from deepspeed.utils import safe_get_full_optimizer_state

        place, groups = 0, []
        for group in self._zero.optimizer.param_groups:  # their weights are parts, and not those of AdamW alone
            mine = len(self.network.param_groups()[group["name"]])
            groups.append({**group, "params": list(range(place, place + mine))})
            place += mine
        states = self._zero.optimizer.state.values()
        if not states:
            return {"state": {}, "param_groups": groups}
        (step,) = {float(each["step"]) for each in states}
        self._link_states()
        state = {
            number: {
                "step": torch.tensor(step),
                **{each: safe_get_full_optimizer_state(weight, each) for each in _MOMENTS},
            }
            for number, weight in enumerate(self._weights)
        }
        return {"state": state, "param_groups": groups}

    def load_optimizer(self, state: dict[str, Any]) -> None:
        super().load_optimizer(state)
        self._awaiting = dict(state["state"])
        self.optimizer.state.clear()

    def _put_back(self) -> None:
        """Load this process's part of the saved AdamW moments."""
        from deepspeed.utils import safe_set_full_optimizer_state, safe_set_local_optimizer_state

        zero, third = self._zero, self._stage == 3
        (step,) = {float(each["step"]) for each in self._awaiting.values()}
        for part in zero.fp32_partitioned_groups_flat if third else zero.single_partition_of_fp32_groups:
            moments = {each: torch.zeros_like(part) for each in _MOMENTS}
            zero.optimizer.state[part] = {"step": torch.tensor(step), **moments}
        self._link_states()
        for number, weight in enumerate(self._weights):
            for moment in _MOMENTS:
                value = self._awaiting[number][moment].to(weight.device)
                if third:
                    safe_set_local_optimizer_state(weight, self._part(value, weight.ds_tensor.numel()), moment)
                else:
                    safe_set_full_optimizer_state(weight, value, moment)

    def _link_states(self) -> None:
        """Tells each weight where its part of the state is. Stages 1 and 2 do so by themselves, but once and for all
        when the first group of the first step has a state and the others have none."""
        if self._stage < 3:
            self._zero._hp_optimizer_states_linked = False
            self._zero._lazy_init_hp_params_optimizer_state()

    def _part(self, value: Tensor, size: int) -> Tensor:
        """What this process keeps of a weight: equal parts, the last one filled up with zeros."""
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        flat = torch.nn.functional.pad(value.flatten(), (0, size * world - value.numel()))
        return flat[rank * size : (rank + 1) * size]


def build_engine(
    accelerator: Accelerator, network: Network, optimizer: torch.optim.Optimizer, max_grad_norm: float | None
) -> Engine:
    """The engine that accelerate was launched with."""
    kind: type[Engine] = Engine
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        kind = Zero
    elif sharded_blocks(accelerator):
        kind = ShardedBlocks
    return kind(accelerator, network, optimizer, max_grad_norm)


def sharded_blocks(accelerator: Accelerator) -> bool:
    """Whether FSDP was requested. Without a GPU accelerate ignores the request, so its launcher's variable decides."""
    requested = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
    return accelerator.distributed_type == DistributedType.FSDP or (requested and accelerator.num_processes > 1)
