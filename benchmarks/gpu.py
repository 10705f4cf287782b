"""What only a GPU tells: samples a second, peak memory and the share of the card's own matmul rate that is used."""

import dataclasses
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from benchmarks.lengths import encoded, vqa_lengths
from benchmarks.setting import NoDevice, Setting
from benchmarks.shapes import PROMPT, dept, prompted, random_batch, step, t5
from benchmarks.store import clip_tower, write_store
from benchmarks.table import Line, Measured, Target, exactly
from benchmarks.timing import Run, Spread, Times, interleave, ratio, spread
from dept_vl.backbones import Backbone, CandidateTree
from dept_vl.model import Batch, Network
from dept_vl.run.images import Resident
from dept_vl.vision import VisualProjection

ROWS = {"t5-base": 256, "t5-large": 128, "t5-3b": 64}
SEQ = 64  # text tokens of every row, none of them pads
PROMPTS = (0, 20, 40, 60, 80)
GAINS = {"t5-large": (20, 1.181), "t5-3b": (60, 1.37)}  # the paper's inference against PT 100: m, and how much faster


def gpu(setting: Setting) -> Measured:
    """T5 shapes under the bare text, PT 100 and DePT; then the VQA step, RN101's extraction and beam search.

    Raises: NoDevice.
    """
    if setting.device.type != "cuda":
        raise NoDevice("gpu: wanted --device cuda on a machine with a CUDA device, given --device cpu")
    rate = matmul_rate(setting)
    lines = [Line("matmul rate of the card, 8192 x 8192 x 8192", exactly(rate / 1e12), None, "TFLOP/s")]
    seconds: dict[str, Times] = {}
    for name, rows in ROWS.items():
        share = setting.lasting(setting.seconds / (len(ROWS) + 1))
        found, seconds[f"{name} train"], seconds[f"{name} inference"] = text_shape(name, rows, rate, share)
        lines += found
        torch.cuda.empty_cache()
    lines += vision(setting.lasting(setting.seconds / (len(ROWS) + 1)))
    return Measured(lines, seconds, {"rows": ROWS, "seq": SEQ, "card": torch.cuda.get_device_name()})


def matmul_rate(setting: Setting, size: int = 8192, turns: int = 30) -> float:
    """Floating-point operations a second of a square product in the setting's type: the median of `turns`."""
    left, right = (torch.randn(size, size, device=setting.device, dtype=setting.dtype) for _ in range(2))
    for _ in range(5):
        left @ right
    taken = []
    for _ in range(turns):
        torch.cuda.synchronize()
        start = time.perf_counter()
        left @ right
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return 2 * size**3 / spread(taken).value


def text_shape(name: str, rows: int, rate: float, setting: Setting) -> tuple[list[Line], Times, Times]:
    backbone = t5(name, setting)
    networks = {"bare": prompted(backbone, setting, "none")}
    networks["PT 100"] = prompted(backbone, setting, "pt", num_virtual_tokens=PROMPT)
    networks |= {f"DePT m={num}": dept(backbone, setting, num) for num in PROMPTS}
    batch = full_batch(backbone, rows, setting)
    runs: dict[str, Run] = {}
    peaks: dict[str, int] = {}
    for each, network in networks.items():
        runs[each] = [_training(network, batch)]
        peaks[each] = _peak(runs[each][0])
    half = setting.lasting(setting.seconds / 2)
    train = interleave(runs, seconds=half.seconds, device=setting.device)
    tree = CandidateTree([(3, 632, 1), (209, 1), (204, 1)])
    for network in networks.values():
        network.eval()
    asked = {each: [lambda n=network: n.choose(batch, tree)] for each, network in networks.items()}
    inference = interleave(asked, seconds=half.seconds, device=setting.device)
    lines = []
    for each, network in networks.items():
        flops = network.training_flops(batch)[1]
        used = _inverse(train[each], flops / rate)
        target = Target(">=", 0.5) if name == "t5-large" and each != "bare" else None
        lines += [
            Line(f"{name} {each}, training", _inverse(train[each], rows), None, "samples/s"),
            Line(f"{name} {each}, inference", _inverse(inference[each], rows), None, "samples/s"),
            Line(f"{name} {each}, peak memory of a step", exactly(peaks[each] / 2**30), None, "GiB"),
            Line(f"{name} {each}, use of the matmul rate in training", used, target, "%"),
        ]
        if each.startswith("DePT"):
            num, gain = GAINS.get(name, (None, None))
            target = Target(">=", gain) if each == f"DePT m={num}" else None
            lines.append(Line(f"{name} PT 100 / {each}, training", ratio(train["PT 100"], train[each])))
            lines.append(
                Line(f"{name} PT 100 / {each}, inference", ratio(inference["PT 100"], inference[each]), target)
            )
    return lines, train, inference


def vision(setting: Setting) -> list[Line]:
    """The VQA step with the store on the card, T5-base and 36 patches; RN101's rate; captions by beam 5."""
    rows, images = 256, 2048
    clip, backbone = clip_tower(setting), t5("t5-base", setting)
    projection = VisualProjection(clip.width, backbone.d_model, clip.num_patches, setting.generator())
    network = dept(backbone, setting, 40, projection)
    keys = [f"{number:012}.jpg" for number in range(images)]
    examples = encoded(vqa_lengths(images, setting.seed), setting.seed, keys)
    parts = np.arange(images).reshape(-1, rows)
    pixels = torch.randn(rows, 3, *clip.preprocess.size, device=setting.device)
    with TemporaryDirectory() as folder:
        store = write_store(Path(folder) / "store", keys, (clip.num_patches, clip.width), setting.seed)
        resident, turns = Resident(store, setting.device), itertools.cycle(parts)

        def train() -> None:
            step(network, examples.collate(next(turns), resident, np.zeros(rows)).to(setting.device))

        captioned = examples.collate(parts[0][:64], resident, np.zeros(64)).to(setting.device)
        runs = {
            "VQA step, t5-base m=40, resident store": (rows, [train]),
            "RN101 extraction without decoding": (rows, [lambda: clip.grid(pixels)]),
            "captions, beam 5, 20 tokens": (
                64, [lambda: network.generate(captioned, max_new_tokens=20, num_beams=5)]
            ),
        }  # fmt: skip
        times = interleave(
            {name: run for name, (_, run) in runs.items()}, seconds=setting.seconds, device=setting.device
        )  # fmt: skip
    return [Line(name, _inverse(times[name], number), None, "samples/s") for name, (number, _) in runs.items()]


def full_batch(backbone: Backbone, rows: int, setting: Setting) -> Batch:
    batch = random_batch(setting, backbone.vocabulary, rows, SEQ)
    return dataclasses.replace(batch, input_ids=batch.input_ids.clamp(min=3), mask=torch.ones_like(batch.mask))


def _training(network: Network, batch: Batch) -> Callable[[], None]:
    if network.param_groups():
        return lambda: step(network, batch)
    embeds, mask = network.embed(batch)
    embeds = embeds.detach().clone().requires_grad_(True)

    def bare() -> None:
        network.backbone.loss(embeds, mask, batch.labels).mean().backward()
        embeds.grad = None

    return bare


def _peak(run: Callable[[], None]) -> int:
    run()
    torch.cuda.reset_peak_memory_stats()
    run()
    return torch.cuda.max_memory_allocated()


def _inverse(times: list[float], amount: float) -> Spread:
    """`amount` a second."""
    own = spread(times)
    return Spread(amount / own.value, amount / own.high, amount / own.low, own.rounds)
