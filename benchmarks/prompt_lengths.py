"""DePT's claims of speed (arXiv:2309.05173, Figures 3 and 4, Tables 7 and 8) at the shapes of T5, with random weights:
the time of a step and of an answer under PT over DePT's, by the number m of prompt tokens at one budget of weights.

Texts fill 256 tokens, to which the paper pads all of them, or have as many as GLUE's do with their templates, which is
what a batch by length holds. Published are samples a second of inference on an RTX 3090; a CPU's ratios stand beside.
T5-3B's and LLaMA-7B's shapes are among the steps of `gpu`.
"""

from collections.abc import Callable, Iterator

from benchmarks.gpu_text import LABELS, full_batch, training
from benchmarks.lengths import GLUE_MEANS, SOURCE_LENGTH
from benchmarks.setting import Setting
from benchmarks.shapes import PROMPT, dept, prompted, t5
from benchmarks.table import Line, Measured, Target
from benchmarks.timing import Times, interleave, ratio
from dept_vl.backbones import Backbone, CandidateTree
from dept_vl.model import Batch, Network

ROWS = {"t5-small": 8, "t5-base": 4, "t5-large": 2}
SHARES = {"t5-small": 0.15, "t5-base": 0.35, "t5-large": 0.5}  # of the time
PROMPTS = (0, 20, 40, 60, 80)
GLUE = round(5.7 + 1.3 * sum(GLUE_MEANS.values()) / len(GLUE_MEANS))  # tokens of a text, see lengths.py
DOUBLED = {"num_virtual_tokens": 120, "r": 60, "max_length": SOURCE_LENGTH}  # the weights of a prompt of 200
PUBLISHED = {  # samples a second, DePT's / PT's
    ("t5-small", "DePT m=20"): 178.3 / 167.3,
    ("t5-large", "DePT m=20"): 24.8 / 21.0,
    ("t5-base", "DePT m=120"): 54.8 / 40.8,
}


def prompt_lengths(setting: Setting) -> Iterator[Measured]:
    """What is known after each shape."""
    lines: list[Line] = []
    seconds: dict[str, Times] = {}
    for name in ["t5-base"] if setting.tiny else ROWS:
        rows = ROWS[name]
        own = setting.lasting(setting.seconds * SHARES[name] / 4)
        backbone = t5("tiny" if setting.tiny else name, setting)
        networks = _networks(name, backbone, setting)
        for tokens in (SOURCE_LENGTH, GLUE):
            batch = full_batch(backbone, rows, setting, seq=tokens)
            runs = {each: [training(network.train(), batch)] for each, network in networks.items()}
            trained = interleave(runs, seconds=own.seconds, device=own.device, least=own.least)
            asked = {each: [_answer(network.eval(), batch)] for each, network in networks.items()}
            answered = interleave(asked, seconds=own.seconds, device=own.device, least=own.least)
            found = {"step": trained, "inference": answered}
            seconds |= {f"{name}, {tokens} tokens, {what}": times for what, times in found.items()}
            for each in networks:
                if not each.startswith("DePT"):
                    continue
                base = "PT 200" if each == "DePT m=120" else "PT 100"
                for what, times in found.items():
                    published = PUBLISHED.get((name, each)) if what == "inference" and tokens == SOURCE_LENGTH else None
                    target = None if published is None else Target(">=", round(published, 3))
                    where = f"{name}, {tokens} tokens, {base} / {each}: {what}"
                    lines.append(Line(where, ratio(times[base], times[each]), target))
        yield Measured(list(lines), dict(seconds), {"rows": ROWS, "tokens": [SOURCE_LENGTH, GLUE]})


def _networks(name: str, backbone: Backbone, setting: Setting) -> dict[str, Network]:
    found = {f"PT {PROMPT}": prompted(backbone, setting, "pt", num_virtual_tokens=PROMPT)}
    found |= {f"DePT m={number}": dept(backbone, setting, number) for number in PROMPTS}
    if name == "t5-base":  # Table 8
        found["PT 200"] = prompted(backbone, setting, "pt", num_virtual_tokens=200)
        found["DePT m=120"] = prompted(backbone, setting, "dept", **DOUBLED)
    return found


def _answer(network: Network, batch: Batch) -> Callable[[], object]:
    tree = CandidateTree(LABELS)
    return lambda: network.choose(batch, tree)
