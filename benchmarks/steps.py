"""Rows 1 and 9: a training step of each adapter against the frozen model's own, in time and in memory."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from benchmarks.loop import run_loop, training_batches
from benchmarks.setting import Setting
from benchmarks.shapes import PROMPT, dept, prompted, random_batch, step, t5
from benchmarks.table import Line, Measured, Target, exactly
from benchmarks.timing import Spread, interleave, ratio
from dept_vl.backbones import Backbone
from dept_vl.model import Batch, Network
from dept_vl.run.measure import kept_bytes

OUT = PROMPT + 32  # encoder tokens of every row, prompt included, whatever the adapter
ROWS = 8
AT_MOST = Target("<=", 1.02)


def time_steps(setting: Setting) -> Measured:
    """loss.backward() through `Network` with each adapter / the frozen model's forward and backward pass to its input
    embeddings; OUT tokens a row on both sides."""
    backbone = t5(setting.t5, setting)
    networks = _networks(backbone, setting)
    batches = {name: _batch(network, setting) for name, network in networks.items()}
    bare = _bare(networks["DePT m=40"], batches["DePT m=40"])
    runs = {name: [lambda name=name: step(networks[name], batches[name])] for name in networks}
    times = interleave(
        {"bare": [bare], **runs}, seconds=setting.seconds, device=setting.device, least=setting.least
    )  # fmt: skip
    lines = [Line(f"{name} / bare", ratio(times[name], times["bare"]), AT_MOST) for name in networks]
    return Measured(lines, {"step": times}, {"shape": setting.t5, "rows": ROWS, "tokens": OUT})


def memory(setting: Setting) -> Measured:
    """What a step keeps for its backward pass, weights left out, and on a GPU its peak with the weights; and a
    checkpoint's files / the trained weights and the optimizer's state."""
    backbone = t5(setting.t5, setting)
    networks = _networks(backbone, setting)
    lines = []
    for name, network in networks.items():
        batch = _batch(network, setting)
        embeds, mask = embedded(network, batch)
        own = kept_bytes(lambda network=network, batch=batch: network(batch).mean(), network.parameters())
        bare = kept_bytes(lambda e=embeds, m=mask, b=batch: backbone.loss(e, m, b.labels).mean(), network.parameters())
        lines.append(Line(f"kept for backward, {name} / bare", exactly(own / bare), Target("<=", 1.03)))
        if setting.device.type == "cuda":
            peaks = [_peak(lambda n=network, b=batch: step(n, b)), _peak(_bare(network, batch))]
            lines.append(Line(f"peak with weights, {name} / bare", exactly(peaks[0] / peaks[1]), Target("<=", 1.03)))
    network = networks["DePT m=40"]
    with TemporaryDirectory() as folder:
        optimizer = run_loop(setting, network, training_batches(setting, 4, 32), 2, Path(folder))
        written = sum(path.stat().st_size for path in Path(folder).glob("checkpoints/step_2/*"))
    held = _tensor_bytes(network.trained_state()) + _tensor_bytes(optimizer.state_dict()["state"])
    lines.append(Line("checkpoint on disk / weights and optimizer", _counted(written, held), Target("<", 1.2)))
    return Measured(lines, {}, {"shape": setting.t5, "rows": ROWS, "tokens": OUT, "checkpoint_bytes": written})


def _networks(backbone: Backbone, setting: Setting) -> dict[str, Network]:
    return {
        "PT": prompted(backbone, setting, "pt", num_virtual_tokens=PROMPT),
        "DPT": prompted(backbone, setting, "dpt", num_virtual_tokens=PROMPT, r=10),
        "residual PT": prompted(backbone, setting, "residual_pt", num_virtual_tokens=PROMPT, bottleneck=400),
        "DePT m=40": dept(backbone, setting, 40),
    }


def _batch(network: Network, setting: Setting) -> Batch:
    seq = OUT - network.adapter.num_virtual_tokens
    return random_batch(setting, network.backbone.vocabulary, ROWS, seq)


def embedded(network: Network, batch: Batch) -> tuple[Tensor, Tensor]:
    """What the frozen model reads, as a leaf that asks for its gradient."""
    with torch.no_grad():
        embeds, mask = network.embed(batch)
    return embeds.clone().requires_grad_(True), mask


def _bare(network: Network, batch: Batch) -> Callable[[], None]:
    embeds, mask = embedded(network, batch)

    def run() -> None:
        network.backbone.loss(embeds, mask, batch.labels).mean().backward()
        embeds.grad = None

    return run


def _peak(run: Callable[[], None]) -> int:
    run()
    torch.cuda.reset_peak_memory_stats()
    run()
    return torch.cuda.max_memory_allocated()


def _tensor_bytes(tree: object) -> int:
    if isinstance(tree, Tensor):
        return tree.numel() * tree.element_size()
    return sum(map(_tensor_bytes, tree.values())) if isinstance(tree, dict) else 0


def _counted(over: int, under: int) -> Spread:
    return exactly(over / under)
