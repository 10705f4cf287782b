"""What each method costs beside the frozen model alone: a step, an answer's forward pass, memory, the saved file."""

from collections.abc import Callable

import torch

from benchmarks.setting import Setting
from benchmarks.shapes import prompted, random_batch, step, t5
from benchmarks.steps import embedded
from benchmarks.table import Line, Measured, Target, exactly
from benchmarks.timing import interleave, ratio
from dept_vl.adapters import ADAPTERS, build_adapter
from dept_vl.model import Batch, Network
from dept_vl.run.measure import kept_bytes
from dept_vl.tuning import TUNINGS, build_tuning

ROWS, TEXT = 8, 32
LEFT_OUT = ("none", "rank_probe", "attempt")  # nothing, a probe, and what needs other tasks' prompts
ONE_TASK = {"hyperformer": {"num_tasks": 1}}
TINY = {
    "accept": {"prompt_width": 8, "shift_width": 8},
    "adapterdrop": {"num_dropped": 1},
    "lst": {"layers": [0, 1]},
}
MERGED = "ia3 merged"
KEEPS = {"lst": Target("<=", 0.5)}  # the promise of LST: nothing of the frozen model is kept for a backward pass
READS = {MERGED: Target("<=", 1.02)}  # that of (IA)^3: no cost once it is merged


def methods(setting: Setting) -> Measured:
    """Every method with its published arguments on the same texts, a prompt's tokens on top / the frozen model alone:
    forward and backward pass to its input embeddings, forward pass without gradient, what a step keeps for its backward
    pass; and the megabytes of the trained weights in fp32, which is what the saved file holds."""
    networks = _networks(setting)
    batch = random_batch(setting, networks["bare"].backbone.vocabulary, ROWS, TEXT)
    known = {name: network for name, network in networks.items() if name != MERGED}
    steps = {name: [lambda network=network: _step(network, batch)] for name, network in known.items()}
    half = setting.lasting(setting.seconds / 2)
    trained = interleave(steps, seconds=half.seconds, device=setting.device, least=setting.least)
    for network in networks.values():
        network.eval()
    networks[MERGED].parts["inside"].merge()
    reads = {name: [lambda network=network: _read(network, batch)] for name, network in networks.items()}
    read = interleave(reads, seconds=half.seconds, device=setting.device, least=setting.least)
    kept = {name: _kept(network, batch) for name, network in known.items()}
    lines = []
    for name in list(networks)[1:]:
        if name in known:
            lines.append(Line(f"{name}: step / bare", ratio(trained[name], trained["bare"])))
            lines.append(Line(f"{name}: kept for backward / bare", exactly(kept[name] / kept["bare"]), KEEPS.get(name)))
            megabytes = sum(each.numel() for each in networks[name].parts.parameters()) * 4 / 1e6
            lines.append(Line(f"{name}: trained weights in fp32", exactly(megabytes), unit="MB"))
        lines.append(Line(f"{name}: forward / bare", ratio(read[name], read["bare"]), READS.get(name)))
    return Measured(lines, {"step": trained, "forward": read}, {"shape": setting.t5, "rows": ROWS, "tokens": TEXT})


def _networks(setting: Setting) -> dict[str, Network]:
    """The bare model first. Adapters share a frozen model; each method inside one has its own. Sizes that the tiny
    model cannot have become its own."""
    smaller = TINY if setting.tiny else {}
    backbone = t5(setting.t5, setting)
    found = {"bare": prompted(backbone, setting, "none")}
    for name, adapter in ADAPTERS.items():
        if adapter.published is None or name in LEFT_OUT:
            continue
        sizes = {**adapter.published, **smaller.get(name, {})}
        init = backbone.embedding_table[: adapter.start_rows(sizes)].detach().float().cpu()
        built = build_adapter(name, init, sizes, setting.generator())
        found[name] = Network(backbone, {"adapter": built}).to(setting.device).train()
    inside = [name for name, tuning in TUNINGS.items() if tuning.published is not None]
    for name in [*inside, MERGED]:
        own, method = t5(setting.t5, setting), "ia3" if name == MERGED else name
        arguments = {**TUNINGS[method].published, **ONE_TASK.get(method, {}), **smaller.get(method, {})}
        tuning = build_tuning(method, arguments, setting.generator())
        tuning.attach(own)
        adapter = prompted(own, setting, "none").adapter
        found[name] = Network(own, {"adapter": adapter, "inside": tuning}).to(setting.device).train()
    return found


def _step(network: Network, batch: Batch) -> None:
    if network.param_groups():
        step(network, batch)
    else:
        _bare(network, batch)().backward()


def _bare(network: Network, batch: Batch) -> Callable[[], torch.Tensor]:
    embeds, mask = embedded(network, batch)
    return lambda: network.backbone.loss(embeds, mask, batch.labels).mean()


def _kept(network: Network, batch: Batch) -> int:
    network.train()
    run = (lambda: network(batch).mean()) if network.param_groups() else _bare(network, batch)
    return kept_bytes(run, network.parameters())


def _read(network: Network, batch: Batch) -> None:
    with torch.no_grad():
        network(batch)
