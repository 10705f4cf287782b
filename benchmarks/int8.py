"""Row 13: a training step on frozen linear layers in int8, with weights alone or with integer products, in bf16 too."""

from collections.abc import Callable

import torch

from benchmarks.setting import Setting
from benchmarks.shapes import dept, random_batch, step, t5
from benchmarks.table import Line, Measured, Target, exactly
from benchmarks.timing import Run, interleave, ratio
from dept_vl.backbones.quantised import quantise
from dept_vl.model import Batch, Network

ROWS, SEQ = 16, 32
FORMS = ("int8", "int8_dynamic")


def int8(setting: Setting) -> Measured:
    """The step in floats / the step with each, and how far the loss of a batch is from that in floats. On a CPU of
    AVX512-BF16 or VNNI; elsewhere torch emulates."""
    networks = {"floats": dept(t5(setting.t5, setting), setting, 40)}
    batch = random_batch(setting, networks["floats"].backbone.vocabulary, ROWS, SEQ)
    for form in FORMS:
        networks[form] = dept(t5(setting.t5, setting), setting, 40)
        quantise(networks[form].backbone.model, form)
    for each in networks.values() if setting.device.type == "cpu" else ():  # as a run that may take bfloat16 does
        each.backbone.attend_eagerly()
    runs: dict[str, Run] = {name: [lambda each=each: step(each, batch)] for name, each in networks.items()}
    runs["bf16 autocast"] = [_autocast(networks["floats"], batch, setting)]
    runs["int8 under bf16 autocast"] = [_autocast(networks["int8"], batch, setting)]
    times = interleave(runs, seconds=setting.seconds, device=setting.device, least=setting.least)
    lines = [
        Line(f"{setting.t5} step, floats / {name}", ratio(times["floats"], times[name]), target)
        for name, target in {
            "int8_dynamic": Target(">=", 1.2), "int8": None, "bf16 autocast": None, "int8 under bf16 autocast": None,
        }.items()
    ]  # fmt: skip
    with torch.no_grad():
        wanted = networks["floats"](batch)
        for form in FORMS:
            off = float((networks[form](batch) - wanted).abs().max() / wanted.abs().max())
            lines.append(Line(f"loss of a row, {form}, off by", exactly(off), None, "%"))
    return Measured(lines, {"int8": times}, {"shape": setting.t5, "rows": ROWS, "seq": SEQ})


def _autocast(network: Network, batch: Batch, setting: Setting) -> Callable[[], None]:
    def half() -> None:
        with torch.autocast(setting.device.type, dtype=torch.bfloat16):
            loss = network(batch).mean()
        loss.backward()

    return half
