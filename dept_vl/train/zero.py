"""DeepSpeed ZeRO: gradients and the optimizer's state in parts, under stage 3 the frozen weights too."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dept_vl.backbones import read_whole
from dept_vl.model import Batch
from dept_vl.train.engine import Engine, joint_norm

_MOMENTS = ("exp_avg", "exp_avg_sq")


class Zero(Engine):
    """DeepSpeed ZeRO: optimizer states, from stage 2 on gradients and in stage 3 the frozen weights are kept in parts.
    It clips in its own step, as the other engines do: all groups together."""

    _awaiting: dict[int, dict[str, Tensor]] | None = None  # states that `prepare` puts into their parts
    _parted: frozenset[nn.Parameter] | set[nn.Parameter] = frozenset()  # the trained weights kept in parts

    def prepare(self) -> None:
        self.accelerator.deepspeed_plugin.deepspeed_config["gradient_clipping"] = self.max_grad_norm or 0.0
        self._weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        parted = self.in_parts
        self._engine, stepper = self.accelerator.prepare(self.network, self.optimizer)
        self._zero = stepper.optimizer
        if self._stage == 3:
            self._parted = parted
            self._keep_trained_whole()
            self.network.backbone.synced = True
        if self._awaiting:
            self._put_back()

    @property
    def _stage(self) -> int:
        return self._engine.zero_optimization_stage()

    def _keep_trained_whole(self) -> None:
        """Trained weights beside frozen ones are gathered after each step and stay so, for checkpoints and diagnostics
        read them outside of a forward pass too. They are few; what is worth sharing out are the frozen ones."""
        kept, whole = self._zero.persistent_parameters, [each for each in self._weights if each not in self._parted]
        kept += [weight for weight in whole if not weight.ds_persist]
        for weight in whole:
            weight.ds_persist = weight.is_external_param = True  # the first alone is not heeded in evaluations
        if kept:
            kept[0].all_gather(kept)

    def learn(self, batch: Batch, *, last: bool) -> Tensor:
        self._engine.set_gradient_accumulation_boundary(last)
        loss = self._engine(batch).mean()
        self._engine.backward(loss)
        return loss.detach()

    def gradients(self) -> Mapping[str, Iterable[Tensor]]:
        """Each is put together when it is its turn, so that no process has all of them whole at once."""
        from deepspeed.utils import safe_get_full_grad

        groups = self.network.param_groups()
        return {name: (safe_get_full_grad(weight) for weight in group) for name, group in groups.items()}

    def norms(self) -> list[Tensor]:
        return [joint_norm(joint_norm([each]) for each in group) for group in self.gradients().values()]

    def joined_parts(self) -> dict[str, Tensor]:
        joined, main = {}, self.accelerator.is_main_process
        for name, weight in self._parted_by_name().items():
            whole = read_whole(weight)
            joined[name] = whole.cpu() if main else torch.empty(0)
        return joined

    def load_trained_state(self, state: Mapping[str, Tensor]) -> None:
        from deepspeed import zero

        parted = self._parted_by_name()
        with torch.no_grad():
            for name, value in self.network.trained_state().items():
                if name not in parted:
                    value.copy_(state[name])
            for name, weight in parted.items():
                with zero.GatheredParameters([weight], modifier_rank=0):
                    weight.copy_(state[name])

    def _parted_by_name(self) -> dict[str, nn.Parameter]:
        """As `Network.trained_state` names them."""
        weights = self.network.parts.named_parameters(remove_duplicate=False)
        return {name: weight for name, weight in weights if weight in self._parted}

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
