"""What each technique gains: without it / with it, at T5-small shape. Lines of reference, for docs/decisions.md."""

import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from benchmarks.lengths import encoded, glue_lengths
from benchmarks.setting import Setting
from benchmarks.shapes import PROMPT, dept, gpt2, prompted, random_batch, step, t5, t5_model
from benchmarks.table import Line, Measured, exactly
from benchmarks.timing import Times, interleave, ratio
from dept_vl.backbones import CandidateTree, Seq2SeqBackbone, pads_last
from dept_vl.backbones.quantised import quantise
from dept_vl.data.batches import evaluation_batches
from dept_vl.model import Batch, Network
from dept_vl.run.measure import kept_bytes

ROWS, SEQ, EVALUATED = 16, 32, 256
LABELS = ((3, 632, 1), (209, 1))
Pair = tuple[Callable[[], object], Callable[[], object]]
"""A run without a technique, and with it."""


def techniques(setting: Setting) -> Measured:
    """SDPA, bf16, torch.compile, recomputed activations, weights in int8, fused AdamW, whole rows
    moved instead of numbers, the fold, the vocabulary over target positions alone, evaluation by length and batches by
    a number of tokens; on a GPU also TF32 and pinned copies."""
    comparisons = {
        "eager attention / SDPA, step": _attention,
        "fp32 / bf16 autocast, step": _autocast,
        "eager / torch.compile at one length, step": _compiled,
        "activations recomputed / kept, step": _recomputed,
        "frozen weights in floats / int8, step": _int8,
        "AdamW by groups of tensors / fused, optimizer alone": _adamw,
        "pads moved by gather / by whole rows, forward and backward": _pads,
        "shift computed from its pair / folded, forward without gradient": _fold,
        "vocabulary over all positions / the target's, GPT-2 step": _targets,
        "evaluation in the order of the file / longest first": _order,
        "batches of as many rows / of as many tokens, an epoch of steps": _budget,
    }
    if setting.device.type == "cuda":
        comparisons |= {
            "fp32 / TF32 products, step": lambda setting, facts: tf32(setting),
            "features copied / pinned and copied beside the step": lambda setting, facts: copies(setting),
        }
    seconds, lines, facts = {}, [], {"shape": setting.t5, "rows": ROWS, "seq": SEQ}
    for name, prepare in comparisons.items():
        without, with_it = prepare(setting, facts)
        times = _times(setting, without, with_it, len(comparisons))
        seconds[name] = times
        lines.append(Line(name, ratio(times["without"], times["with"])))
    lines.append(Line("bytes kept for backward, activations kept / recomputed", exactly(facts.pop("kept_ratio"))))
    lines.append(Line("bytes of the frozen model, in floats / int8", exactly(facts.pop("held_ratio"))))
    return Measured(lines, seconds, facts)


def _times(setting: Setting, without: Callable[[], object], with_it: Callable[[], object], share: int) -> Times:
    runs = {"without": [without], "with": [with_it]}
    return interleave(runs, seconds=setting.seconds / share, device=setting.device, least=setting.least)


def _network(setting: Setting) -> tuple[Network, Batch]:
    network = dept(t5(setting.t5, setting), setting, 40)
    return network, random_batch(setting, network.backbone.vocabulary, ROWS, SEQ)


def _attention(setting: Setting, facts: dict) -> Pair:
    network, batch = _network(setting)
    model = t5_model(setting.t5, setting)
    model.set_attn_implementation("eager")
    eager = dept(Seq2SeqBackbone(model, name="eager"), setting, 40)
    return lambda: step(eager, batch), lambda: step(network, batch)


def _autocast(setting: Setting, facts: dict) -> Pair:
    network, batch = _network(setting)

    def half() -> None:
        with torch.autocast(setting.device.type, dtype=torch.bfloat16):
            loss = network(batch).mean()
        loss.backward()

    return lambda: step(network, batch), half


def _compiled(setting: Setting, facts: dict) -> Pair:
    """The first call, which compiles, is in facts["compile_seconds"]. Tiny: traced and not compiled."""
    network, batch = _network(setting)
    other, _ = _network(setting)
    torch._dynamo.reset()
    other.backbone.model.forward = torch.compile(
        other.backbone.model.forward, backend="eager" if setting.tiny else "inductor"
    )
    began = time.perf_counter()
    step(other, batch)
    facts["compile_seconds"] = round(time.perf_counter() - began, 1)
    return lambda: step(network, batch), lambda: step(other, batch)


def _recomputed(setting: Setting, facts: dict) -> Pair:
    network, batch = _network(setting)
    other, _ = _network(setting)
    other.backbone.checkpoint_activations()
    other.train()
    kept = [kept_bytes(lambda each=each: each(batch).mean(), each.parameters()) for each in (network, other)]
    facts["kept_ratio"] = kept[0] / kept[1]
    return lambda: step(other, batch), lambda: step(network, batch)


def _int8(setting: Setting, facts: dict) -> Pair:
    network, batch = _network(setting)
    other, _ = _network(setting)
    quantise(other.backbone.model, "int8")
    held = [each.backbone.model.get_memory_footprint() for each in (network, other)]
    facts["held_ratio"] = held[0] / held[1]
    return lambda: step(network, batch), lambda: step(other, batch)


def _adamw(setting: Setting, facts: dict) -> Pair:
    network, batch = _network(setting)
    weights = [weight for group in network.param_groups().values() for weight in group]
    network(batch).mean().backward()
    plain, fused = (torch.optim.AdamW(weights, lr=1e-6, fused=fused) for fused in (None, True))
    return plain.step, fused.step


def _pads(setting: Setting, facts: dict) -> Pair:
    network, batch = _network(setting)
    embeds = torch.randn(ROWS, SEQ + PROMPT, network.backbone.d_model, device=setting.device, requires_grad=True)
    mask = (torch.rand(embeds.shape[:2], device=setting.device) < 0.9).long()
    other = torch.randn_like(embeds)

    def gathered() -> None:
        order = (mask == 0).to(torch.uint8).argsort(dim=1, stable=True)
        embeds.gather(1, order.unsqueeze(-1).expand_as(embeds)).backward(other)
        embeds.grad = None

    def moved() -> None:
        pads_last(embeds, mask)[0].backward(other)
        embeds.grad = None

    return gathered, moved


def _fold(setting: Setting, facts: dict) -> Pair:
    network, batch = _network(setting)
    embeds = network.backbone.embed(batch.input_ids)
    folded = network.eval().adapter.fold()

    def read(adapter: Callable[[Tensor, Tensor], object]) -> object:
        with torch.no_grad():
            return adapter(embeds, batch.mask)

    return lambda: read(network.adapter), lambda: read(folded)


def _targets(setting: Setting, facts: dict) -> Pair:
    network = prompted(gpt2(setting), setting, "pt", num_virtual_tokens=PROMPT)
    backbone, rows = network.backbone, max(1, ROWS // 8)
    batch = random_batch(setting, backbone.vocabulary, rows, SEQ)

    def everywhere() -> None:
        embeds, mask = network.embed(batch)
        columns = embeds.shape[1]
        logits = backbone.model(inputs_embeds=embeds, attention_mask=mask, use_cache=False).logits
        labels = torch.full((rows, columns), -100, device=embeds.device)
        labels[:, -batch.labels.shape[1] :] = batch.labels
        torch.nn.functional.cross_entropy(logits.float().transpose(1, 2), labels).backward()

    return everywhere, lambda: step(network, batch)


def _budget(setting: Setting, facts: dict) -> Pair:
    """Both sides take MNLI's rows by length; a batch of `ROWS` rows, or of as many rows as make ROWS x SEQ columns."""
    network, _ = _network(setting)
    number = 8 if setting.tiny else EVALUATED
    rows = encoded(glue_lengths("mnli", number, setting.seed, setting.lengths), setting.seed)
    order = np.argsort(rows.source_lengths, kind="stable")
    fixed = np.split(order, range(ROWS, number, ROWS))
    filled: list[list[int]] = [[]]
    for row in order.tolist():  # the longest comes last, so it is the width of its batch
        if (len(filled[-1]) + 1) * rows.source_lengths[row] > ROWS * SEQ:
            filled.append([])
        filled[-1].append(row)
    facts["budget_batches"] = {
        "rows": len(fixed),
        "tokens": len(filled),
        "rows_in_each": [len(each) for each in filled],
    }

    def epoch(parts: Iterable[Sequence[int]]) -> None:
        for part in parts:
            step(network, rows.collate(part, None, np.zeros(len(part))).to(setting.device))

    return lambda: epoch(fixed), lambda: epoch(filled)


def tf32(setting: Setting) -> Pair:
    network, batch = _network(setting)

    def run(precision: str) -> None:
        torch.set_float32_matmul_precision(precision)
        step(network, batch)

    return lambda: run("highest"), lambda: run("high")


def copies(setting: Setting) -> Pair:
    """A batch of features as CLIP-T5 has them, 36 x 2048 in fp16, comes to the device for every step."""
    network, batch = _network(setting)
    plain = torch.zeros(ROWS, 36, 2048, dtype=torch.float16)
    pinned, aside = plain.pin_memory(), torch.cuda.Stream()

    def copied() -> None:
        plain.to(setting.device)
        step(network, batch)

    def beside() -> None:
        with torch.cuda.stream(aside):
            pinned.to(setting.device, non_blocking=True)
        step(network, batch)

    return copied, beside


def _order(setting: Setting, facts: dict) -> Pair:
    network, _ = _network(setting)
    number = 8 if setting.tiny else EVALUATED
    rows = encoded(glue_lengths("mnli", number, setting.seed, setting.lengths), setting.seed)
    tree, size = CandidateTree(LABELS), min(ROWS, number)
    network.eval()
    parts = np.split(np.arange(number), range(size, number, size))
    in_file = [rows.collate(part, None) for part in parts]
    by_length = list(evaluation_batches(rows, None, batch_size=size))

    def answer(batches: Iterable[Batch]) -> None:
        for batch in batches:
            network.choose(batch.to(setting.device), tree)

    return lambda: answer(in_file), lambda: answer(by_length)
