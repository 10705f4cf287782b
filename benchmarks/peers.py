"""Rows 2 and 3: PEFT's PromptTuning in its usual recipes against our DePT at the same number of trained weights.

Set by set, as one trains on GLUE, in the published batches of 32. Both sides go over the same rows, 50 batches of them
a set. Theirs: shuffled, each batch padded to its longest row (row 2) or to 256 as the published runs do (row 3). Ours:
`TrainingBatches`, which sorts by length. Of each side's epoch the batch is timed whose width is nearest to the mean
width; what is kept beside the times has both. Batches are ready before the clock starts; a step is forward, backward,
AdamW.
"""

from collections.abc import Callable, Sequence
from statistics import mean

import numpy as np
import torch
from peft import LoraConfig, PromptEncoderConfig, PromptTuningConfig, PromptTuningInit, TaskType, get_peft_model
from torch import nn

from benchmarks.lengths import FOUR_SETS, GLUE_MEANS, SOURCE_LENGTH, encoded, glue_lengths
from benchmarks.setting import Setting
from benchmarks.shapes import PROMPT, dept, padded_to, t5, t5_model
from benchmarks.table import Line, Measured, Target
from benchmarks.timing import Run, interleave, ratio
from dept_vl.data.batches import TrainingBatches
from dept_vl.model import Batch, Network

OURS = {"DePT m=20": 20, "DePT m=40": 40}
AT_LEAST = {"DePT m=20": Target(">=", 2.7), "DePT m=40": Target(">=", 2.0)}
ROWS, EPOCH = 32, 50  # rows of a batch as published, batches of a set
Batches = list[list[Batch]]  # by set


def peers(setting: Setting) -> Measured:
    """PEFT PromptTuning (100 tokens) / our DePT; LoRA r = 35 and P-tuning (100 tokens) / PEFT PromptTuning beside."""
    names = [setting.t5, *(["t5-base"] if setting.large and not setting.tiny else [])]
    lines, seconds = [], {}
    theirs, ours, columns = _batches(setting)
    for name in names:
        backbone = t5(name, setting)
        runs = {"PEFT PT": _peer(prompt_tuning(backbone.model, setting), theirs)}
        runs |= {each: _own(dept(backbone, setting, num), ours) for each, num in OURS.items()}
        if name == setting.t5:
            runs["PEFT P-tuning"] = _peer(p_tuning(backbone.model, setting), theirs)
            runs["PEFT LoRA r=35"] = _peer(lora(t5_model(name, setting), setting), theirs)
        times = interleave(
            runs, seconds=setting.seconds / len(names), device=setting.device, least=setting.least
        )  # fmt: skip
        lines += [
            Line(f"{name}, PEFT PT / our {each}", ratio(times["PEFT PT"], times[each]), AT_LEAST[each])
            for each in OURS
        ]  # fmt: skip
        rest = [each for each in runs if each != "PEFT PT" and each not in OURS]
        lines += [Line(f"{name}, PEFT PT / {each}", ratio(times["PEFT PT"], times[each])) for each in rest]
        seconds[name] = times
    facts = {"sets": len(ours), "rows": len(ours[0][0].ids), "columns": columns}
    return Measured(lines, seconds, facts)


def padded(setting: Setting) -> Measured:
    """The published recipe, PT of 100 with every row padded to 256 / our DePT m=40 on the same rows. As transformers
    computes attention now, and as it did when the papers ran (eager)."""
    backbone, eager = t5(setting.t5, setting), t5_model(setting.t5, setting)
    eager.set_attn_implementation("eager")
    theirs, ours, columns = _batches(setting, to=SOURCE_LENGTH)
    runs = {
        "PEFT PT at 256": _peer(prompt_tuning(backbone.model, setting), theirs),
        "PEFT PT at 256, eager": _peer(prompt_tuning(eager, setting), theirs),
        "DePT m=40": _own(dept(backbone, setting, 40), ours),
    }
    times = interleave(runs, seconds=setting.seconds, device=setting.device, least=setting.least)
    lines = [
        Line(
            f"{setting.t5}, PEFT PT padded to 256{how} / our DePT m=40",
            ratio(times[f"PEFT PT at 256{how}"], times["DePT m=40"]),
            target,
        )
        for how, target in (("", Target(">=", 6.0)), (", eager", None))
    ]
    return Measured(lines, {"padded": times}, {"rows": len(ours[0][0].ids), "columns": columns})


def prompt_tuning(model: nn.Module, setting: Setting) -> nn.Module:
    """PEFT's prompt of 100 in the encoder alone, as DePT's and ATTEMPT's baselines have it."""
    config = PromptTuningConfig(
        task_type=TaskType.SEQ_2_SEQ_LM,
        num_virtual_tokens=PROMPT,
        num_transformer_submodules=1,
        prompt_tuning_init=PromptTuningInit.RANDOM,
    )
    return get_peft_model(model, config).to(setting.device).train()


def p_tuning(model: nn.Module, setting: Setting) -> nn.Module:
    config = PromptEncoderConfig(
        task_type=TaskType.SEQ_2_SEQ_LM,
        num_virtual_tokens=PROMPT,
        num_transformer_submodules=1,
        encoder_hidden_size=model.config.d_model,
    )
    return get_peft_model(model, config).to(setting.device).train()


def lora(model: nn.Module, setting: Setting) -> nn.Module:
    """Rank 35, DePT's LoRA baseline, on query and value; `model` is changed."""
    config = LoraConfig(
        task_type=TaskType.SEQ_2_SEQ_LM, r=35, lora_alpha=32, lora_dropout=0.0, target_modules=["q", "v"]
    )  # fmt: skip
    return get_peft_model(model, config).to(setting.device).train()


def _batches(setting: Setting, to: int | None = None) -> tuple[Batches, Batches, dict[str, dict[str, float]]]:
    """Theirs and ours, a typical batch of each set; and the text columns a row of whole epochs and of what is timed.
    `to`: theirs are padded to so many tokens."""
    names = tuple(GLUE_MEANS) if setting.large else FOUR_SETS
    names, size, number = (names[:2], 2, 2) if setting.tiny else (names, ROWS, EPOCH)
    sides: dict[str, Batches] = {"their": [], "our": []}
    widths: dict[str, list[float]] = {"their": [], "our": []}
    for name in names:
        rows = encoded(glue_lengths(name, size * number, setting.seed, setting.lengths), setting.seed)
        bucketed = TrainingBatches(rows, None, batch_size=size, seed=setting.seed)
        order = np.random.default_rng(setting.seed).permutation(len(rows)).reshape(number, size)
        loose = (rows.collate(each, None, np.zeros(size)) for each in order)
        epochs = {
            "their": [each if to is None else padded_to(each, to) for each in loose],
            "our": [bucketed[place] for place in range(number)],
        }
        for side, epoch in epochs.items():
            columns = [batch.input_ids.shape[1] for batch in epoch]
            widths[side].append(mean(columns))
            typical = min(range(number), key=lambda place: abs(columns[place] - mean(columns)))
            sides[side].append([epoch[typical].to(setting.device)])
    facts = {
        side: {"epoch": mean(widths[side]), "timed": mean(part[0].input_ids.shape[1] for part in batches)}
        for side, batches in sides.items()
    }
    return sides["their"], sides["our"], facts


def _peer(model: nn.Module, batches: Batches) -> Run:
    def loss(batch: Batch) -> torch.Tensor:
        return model(input_ids=batch.input_ids, attention_mask=batch.mask, labels=batch.labels).loss

    return _parts(loss, [weight for weight in model.parameters() if weight.requires_grad], batches)


def _own(network: Network, batches: Batches) -> Run:
    weights = [weight for group in network.param_groups().values() for weight in group]
    return _parts(lambda batch: network(batch).mean(), weights, batches)


def _parts(loss: Callable[[Batch], torch.Tensor], weights: Sequence[nn.Parameter], batches: Batches) -> Run:
    optimizer = torch.optim.AdamW(weights, lr=1e-4)

    def train(part: Sequence[Batch]) -> None:
        for batch in part:
            loss(batch).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return [lambda part=part: train(part) for part in batches]
