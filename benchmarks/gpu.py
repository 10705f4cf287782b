"""What only a GPU tells, step by step: speed, memory, the share of the card's matmul rate, and what techniques gain.

Every step is kept as soon as it is measured. A step that fails, or for which no time is left, is named with its reason
in the facts ("not_measured"), and the others go on: such a machine is lent for minutes. With --tiny all steps run
anywhere, to see that they do.
"""

import time
from collections.abc import Callable, Iterator

import torch

from benchmarks.gpu_causal import causal
from benchmarks.gpu_techniques import CUDA_ALONE, GAINS, gain
from benchmarks.gpu_text import text_shape
from benchmarks.gpu_vision import vision
from benchmarks.gpu_zero3 import zero3
from benchmarks.setting import NoDevice, Setting
from benchmarks.table import Line, Measured, exactly
from benchmarks.timing import Times, spread

Found = tuple[list[Line], dict[str, Times]]

STEPS: dict[str, tuple[Callable[[Setting, float], Found], float]] = {
    "t5-large": (lambda setting, rate: text_shape("t5-large", (64, 256), setting, rate), 0.22),
    "t5-base": (lambda setting, rate: text_shape("t5-base", (64, 256), setting, rate), 0.16),
    "t5-3b": (lambda setting, rate: text_shape("t5-3b", (64,), setting, rate, prompts=(60,), peers=False), 0.12),
    "vision": (vision, 0.12),
    "smollm2-135m": (lambda setting, rate: causal("smollm2-135m", (64, 256), setting), 0.05),
    "llama-7b": (lambda setting, rate: causal("llama-7b", (16,), setting, nf4=True), 0.05),
    "zero3": (zero3, 0.08),
    **{name: (lambda setting, rate, name=name: gain(name, setting), 0.2 / len(GAINS)) for name in GAINS},
}
"""What is measured, the dearest to know first, and its share of the time."""


def gpu(setting: Setting) -> Iterator[Measured]:
    """What is known after each step. Raises: NoDevice."""
    if setting.device.type != "cuda" and not setting.tiny:
        raise NoDevice(
            "gpu: wanted --device cuda on a machine with a CUDA device, given --device cpu (--tiny tries every step)"
        )
    began, missing = time.monotonic(), {}
    rate = matmul_rate(setting)
    lines, seconds = [Line("matmul rate of the card", exactly(rate / 1e12), None, "TFLOP/s")], {}
    card = torch.cuda.get_device_name() if setting.device.type == "cuda" else "none: tried on a CPU"
    facts = {"card": card}
    yield Measured(list(lines), dict(seconds), {**facts, "not_measured": {}})
    for name, (step, share) in STEPS.items():
        if setting.device.type != "cuda" and name in CUDA_ALONE:
            missing[name] = "wanted a CUDA device, given a CPU"
        elif not setting.tiny and time.monotonic() - began > setting.seconds:
            missing[name] = "no time was left"
        else:
            try:
                found, times = step(setting.lasting(share * setting.seconds), rate)
            except Exception as error:  # whatever it is, the minutes that are left belong to the other steps
                missing[name] = f"{type(error).__name__}: {error}"[:500]
            else:
                lines += found
                seconds |= {f"{name}, {part}": each for part, each in times.items()}
        if setting.device.type == "cuda":
            torch.cuda.empty_cache()
        yield Measured(list(lines), dict(seconds), {**facts, "not_measured": dict(missing)})


def matmul_rate(setting: Setting, turns: int = 30) -> float:
    """Floating-point operations a second of a square product in the setting's type: the median of `turns`."""
    size = 64 if setting.tiny else 8192
    left, right = (torch.randn(size, size, device=setting.device, dtype=setting.dtype) for _ in range(2))
    synchronise = torch.cuda.synchronize if setting.device.type == "cuda" else lambda: None
    for _ in range(5):
        left @ right
    taken = []
    for _ in range(turns):
        synchronise()
        start = time.perf_counter()
        left @ right
        synchronise()
        taken.append(time.perf_counter() - start)
    return 2 * size**3 / spread(taken).value
