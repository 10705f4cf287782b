"""Methods that train inside the frozen model, one per file; `contract` says what they have in common."""

from dept_vl.tuning.adapter import BottleneckAdapter
from dept_vl.tuning.adapterdrop import AdapterDrop
from dept_vl.tuning.bitfit import BitFit
from dept_vl.tuning.build import build_tuning, count_published, count_weights
from dept_vl.tuning.contract import TUNINGS, BadTuning, Tuning, UnfitTuning
from dept_vl.tuning.full import Full
from dept_vl.tuning.hyperdecoder import HyperDecoder
from dept_vl.tuning.hyperformer import HyperFormer
from dept_vl.tuning.ia3 import IA3
from dept_vl.tuning.lora import LoRA
from dept_vl.tuning.lora_bitfit import LoRABitFit
from dept_vl.tuning.lst import LadderSideTuning
from dept_vl.tuning.p_tuning_v2 import PTuningV2
from dept_vl.tuning.prefix import PrefixTuning

__all__ = [
    "IA3",
    "TUNINGS",
    "AdapterDrop",
    "BadTuning",
    "BitFit",
    "BottleneckAdapter",
    "Full",
    "HyperDecoder",
    "HyperFormer",
    "LadderSideTuning",
    "LoRA",
    "LoRABitFit",
    "PTuningV2",
    "PrefixTuning",
    "Tuning",
    "UnfitTuning",
    "build_tuning",
    "count_published",
    "count_weights",
]
