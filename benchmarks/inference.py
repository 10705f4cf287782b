"""Rows 6 to 8: answers by candidate scoring, through folded adapters, and with the prompt's keys and values kept."""

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.lengths import SOURCE_LENGTH
from benchmarks.setting import Setting
from benchmarks.shapes import PROMPT, dept, gpt2, padded_to, prompted, random_batch, t5
from benchmarks.table import Line, Measured, Target, exactly
from benchmarks.timing import interleave, ratio
from dept_vl.adapters.contract import Folded
from dept_vl.backbones import CandidateTree, choose
from dept_vl.model import BankEntry, Batch, Network

ROWS, SEQ, TEXT, ADAPTERS = 16, 32, 32, 8
LABELS = ((3, 632, 1), (209, 1), (204, 1))  # T5's tokens of "0", "1" and "2", each with the end
NEW_TOKENS = 10
AS_TRAINED = 3  # tokens after which a trained model has said its label and the end


def scoring(setting: Setting) -> Measured:
    """Generation of 10 tokens and the loss's forward pass / one forward pass over the candidates. Random weights never
    say the end, so 10 tokens are generated. Reference lines stop after 3, as a trained model does: on the same rows,
    and on these padded to 256, as DePT's code evaluates."""
    network = dept(t5(setting.t5, setting), setting, 40).eval()
    batch = random_batch(setting, network.backbone.vocabulary, ROWS, SEQ)

    wide = padded_to(batch, 4 * SEQ if setting.tiny else SOURCE_LENGTH)

    def say(tokens: int, rows: Batch = batch) -> Tensor:
        ids = network.generate(rows, max_new_tokens=tokens)
        with torch.no_grad():
            network(rows)
        return ids

    trees = {number: CandidateTree(LABELS[:number]) for number in (2, 3)}
    runs = {f"{number} labels": [lambda tree=tree: network.choose(batch, tree)] for number, tree in trees.items()}
    runs |= {"generate": [lambda: say(NEW_TOKENS)], "generate as trained": [lambda: say(AS_TRAINED)]}
    runs["generate as published, padded to 256"] = [lambda: say(AS_TRAINED, wide)]
    times = interleave(runs, seconds=setting.seconds, device=setting.device, least=setting.least)
    lines = [
        Line(f"{over}, loss / scoring of {under}", ratio(times[over], times[under]), target)
        for under in ("2 labels", "3 labels")
        for over, target in (
            ("generate", Target(">=", 4)),
            ("generate as trained", None),
            ("generate as published, padded to 256", Target(">=", 4)),
        )
    ]
    generated = say(NEW_TOKENS).shape[1] - 1  # behind the start token
    return Measured(lines, {"scoring": times}, {"shape": setting.t5, "rows": ROWS, "seq": SEQ, "generated": generated})


def folded(setting: Setting) -> Measured:
    """Scoring through a folded adapter / the frozen model on the same, ready embeddings; a batch whose rows mix eight
    adapters / one adapter; graphs compiled anew when a compiled model gets another adapter."""
    backbone = t5(setting.t5, setting)
    networks = [dept(backbone, setting, 40).eval() for _ in range(ADAPTERS)]
    adapters = [randomised(network, number).adapter.fold() for number, network in enumerate(networks)]
    mixing = Network(backbone, {}).eval()
    mixing.bank |= {str(number): BankEntry(adapter) for number, adapter in enumerate(adapters)}
    batch, tree = random_batch(setting, backbone.vocabulary, ROWS, SEQ), CandidateTree(LABELS)
    mixed = dataclasses.replace(batch, adapters=tuple(str(row % ADAPTERS) for row in range(ROWS)))
    ready = adapters[0](backbone.embed(batch.input_ids), batch.mask)
    runs: dict[str, Callable[[], Tensor]] = {
        "bare": lambda: choose(backbone, *ready, tree),
        "folded": lambda: choose(backbone, *adapters[0](backbone.embed(batch.input_ids), batch.mask), tree),
        "mixed": lambda: mixing.choose(mixed, tree),
    }
    times = interleave(
        {name: [run] for name, run in runs.items()},
        seconds=setting.seconds, device=setting.device, least=setting.least,
    )  # fmt: skip
    lines = [
        Line("folded DePT m=40 / bare", ratio(times["folded"], times["bare"]), Target("<=", 1.02)),
        Line(f"rows of {ADAPTERS} adapters / one adapter", ratio(times["mixed"], times["folded"]), Target("<=", 1.05)),
        Line("graphs compiled anew after a swap", exactly(recompilations(setting), ADAPTERS), Target("=", 0), ""),
    ]
    return Measured(lines, {"folded": times}, {"shape": setting.t5, "rows": ROWS, "seq": SEQ})


def recompilations(setting: Setting) -> int:
    """Graphs that torch.compile traces after the first adapter when seven others follow. A T5 of a few thousand
    weights and the eager backend: whether a graph holds is decided before any backend sees it."""
    small = dataclasses.replace(setting, tiny=True)
    backbone = t5("tiny", small)
    adapters = [randomised(dept(backbone, small, 40), number).adapter.fold() for number in range(ADAPTERS)]
    batch = random_batch(small, backbone.vocabulary, 2, 8)

    def read(prompt: Tensor, shift: Tensor) -> Tensor:
        embeds, mask = Folded(prompt, shift)(backbone.embed(batch.input_ids), batch.mask)
        return backbone.logits(embeds, mask, batch.labels)

    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    counted, compiled = torch._dynamo.utils.counters["stats"], torch.compile(read, backend="eager")
    with torch.no_grad():
        compiled(adapters[0].prompt, adapters[0].shift)
        before = counted["unique_graphs"]
        if not before:
            raise RuntimeError("recompilations: wanted a compiled graph after the first call, given none")
        for adapter in adapters[1:]:
            compiled(adapter.prompt, adapter.shift)
        return counted["unique_graphs"] - before


def prompt_cache(setting: Setting) -> Measured:
    """GPT-2 small's shape under a prompt of 100 and texts of up to 32 tokens: nothing reused / the prompt's keys and
    values computed once, for choosing between labels and for generating 4 tokens."""
    network = prompted(gpt2(setting), setting, "pt", num_virtual_tokens=PROMPT).eval()
    backbone = network.backbone
    batch = random_batch(setting, backbone.vocabulary, ROWS, TEXT)
    tree = CandidateTree([(11, 2), (12, 2)])
    new = {"max_new_tokens": 4, "num_beams": 1}

    def read() -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            return network.embed(batch)

    runs: dict[str, Callable[[], Tensor]] = {
        "choose, kept": lambda: network.choose(batch, tree),
        "choose, anew": lambda: choose(backbone, *read(), tree, prompt_length=0),
        "generate, kept": lambda: network.generate(batch, **new),
        "generate, anew": lambda: backbone.generate(*read(), **new, prompt_length=0),
    }
    times = interleave(
        {name: [run] for name, run in runs.items()},
        seconds=setting.seconds, device=setting.device, least=setting.least,
    )  # fmt: skip
    lines = [
        Line(f"{verb}, prompt anew / kept", ratio(times[f"{verb}, anew"], times[f"{verb}, kept"]), Target(">=", 2))
        for verb in ("choose", "generate")
    ]
    return Measured(lines, {"prompt_cache": times}, {"rows": ROWS, "prompt": PROMPT, "text": TEXT})


def randomised(network: Network, seed: int) -> Network:
    """Away from the start, at which a shift is zero and all adapters are one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for group in network.param_groups().values():
            for weight in group:
                weight.add_(torch.randn(weight.shape, generator=generator).to(weight.device))
    return network
