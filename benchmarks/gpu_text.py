"""T5 shapes on a GPU: the bare text, PT 100, DePT m = 0 .. 80, and PEFT's PT and LoRA, in training and inference."""

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import nn

from benchmarks.peers import lora, prompt_tuning
from benchmarks.setting import Setting
from benchmarks.shapes import PROMPT, dept, prompted, random_batch, step, t5, t5_model
from benchmarks.table import Line, Target, exactly
from benchmarks.timing import Run, Times, interleave, inverse, ratio
from dept_vl.backbones import Backbone, CandidateTree
from dept_vl.model import Batch, Network

SEQ = 64  # text tokens of every row, none of them pads
PROMPTS = (0, 20, 40, 60, 80)
GAINS = {"t5-large": (20, 1.181), "t5-3b": (60, 1.37)}  # the paper's inference against PT 100: m, and how much faster
LABELS = ((3, 632, 1), (209, 1), (204, 1))


def text_shape(
    name: str,
    sizes: Sequence[int],
    setting: Setting,
    rate: float,
    *,
    prompts: Sequence[int] = PROMPTS,
    peers: bool = True,
) -> tuple[list[Line], dict[str, Times]]:
    """sizes: rows of a batch. rate: the card's, of a matrix product, in operations a second."""
    shape, sizes = ("tiny", (2,)) if setting.tiny else (name, sizes)
    backbone = t5(shape, setting)
    networks = {"bare": prompted(backbone, setting, "none")}
    networks["PT 100"] = prompted(backbone, setting, "pt", num_virtual_tokens=PROMPT)
    networks |= {f"DePT m={num}": dept(backbone, setting, num) for num in prompts}
    others = {}
    if peers:
        others["PEFT PT 100"] = prompt_tuning(backbone.model, setting)
        others["PEFT LoRA r=35"] = lora(t5_model(shape, setting), setting)
    lines, seconds = [], {}
    for rows in sizes:
        batch = full_batch(backbone, rows, setting)
        half = setting.lasting(setting.seconds / len(sizes) / 2)
        where = f"{name}, {rows} rows"
        found, seconds[f"{rows} rows, training"] = _training_lines(where, networks, others, batch, rate, half)
        more, seconds[f"{rows} rows, inference"] = _inference_lines(where, networks, batch, half)
        lines += found + more
    return lines, seconds


def _training_lines(
    where: str, networks: dict[str, Network], others: dict[str, nn.Module], batch: Batch, rate: float, setting: Setting
) -> tuple[list[Line], Times]:
    for network in networks.values():
        network.train()
    runs: dict[str, Run] = {each: [training(network, batch)] for each, network in networks.items()}
    runs |= {each: [_peer(model, batch)] for each, model in others.items()}
    peaks = {each: peak(run[0], setting) for each, run in runs.items()}
    times = interleave(runs, seconds=setting.seconds, device=setting.device, least=setting.least)
    lines, rows = [], len(batch.input_ids)
    for each in runs:
        lines.append(Line(f"{where}, {each}: training", inverse(times[each], rows), None, "samples/s"))
        if peaks[each] is not None:
            lines.append(Line(f"{where}, {each}: peak memory of a step", exactly(peaks[each] / 2**30), None, "GiB"))
        if each in networks:
            used = inverse(times[each], networks[each].training_flops(batch)[1] / rate)
            target = Target(">=", 0.5) if where.startswith("t5-large") and each != "bare" else None
            lines.append(Line(f"{where}, {each}: use of the matmul rate in training", used, target, "%"))
        if each not in ("bare", "PT 100"):
            lines.append(Line(f"{where}, PT 100 / {each}: training", ratio(times["PT 100"], times[each])))
    return lines, times


def _inference_lines(
    where: str, networks: dict[str, Network], batch: Batch, setting: Setting
) -> tuple[list[Line], Times]:
    tree, lines = CandidateTree(LABELS), []
    for network in networks.values():
        network.eval()
    asked = {each: [lambda n=network: n.choose(batch, tree)] for each, network in networks.items()}
    times = interleave(asked, seconds=setting.seconds, device=setting.device, least=setting.least)
    num, gain = GAINS.get(where.partition(",")[0], (None, None))
    for each in networks:
        rate = inverse(times[each], len(batch.input_ids))
        lines.append(Line(f"{where}, {each}: inference", rate, None, "samples/s"))
        if each.startswith("DePT"):
            target = Target(">=", gain) if each == f"DePT m={num}" else None
            gained = ratio(times["PT 100"], times[each])
            lines.append(Line(f"{where}, PT 100 / {each}: inference", gained, target))
    return lines, times


def full_batch(backbone: Backbone, rows: int, setting: Setting, seq: int = SEQ) -> Batch:
    """Without a pad."""
    batch = random_batch(setting, backbone.vocabulary, rows, seq)
    return dataclasses.replace(batch, input_ids=batch.input_ids.clamp(min=3), mask=torch.ones_like(batch.mask))


def training(network: Network, batch: Batch) -> Callable[[], None]:
    """A step; of a network without weights the same passes of the frozen model."""
    if network.param_groups():
        return lambda: step(network, batch)
    with torch.no_grad():
        embeds, mask = network.embed(batch)
    embeds = embeds.detach().clone().requires_grad_(True)

    def bare() -> None:
        network.backbone.loss(embeds, mask, batch.labels).mean().backward()
        embeds.grad = None

    return bare


def _peer(model: nn.Module, batch: Batch) -> Callable[[], None]:
    weights = [weight for weight in model.parameters() if weight.requires_grad]

    def run() -> None:
        model(input_ids=batch.input_ids, attention_mask=batch.mask, labels=batch.labels).loss.backward()
        for weight in weights:
            weight.grad = None

    return run


def peak(run: Callable[[], None], setting: Setting) -> int | None:
    """Bytes of a second run, weights included; None on a CPU, which does not count them."""
    run()
    if setting.device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats()
    run()
    return torch.cuda.max_memory_allocated()
