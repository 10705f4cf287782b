"""Frozen language models behind one small interface; only embeddings enter them."""

from dept_vl.backbones.build import load_backbone
from dept_vl.backbones.candidates import BadCandidates, CandidateTree, choose
from dept_vl.backbones.causal import CausalBackbone, NothingToContinue, TooManyPositions
from dept_vl.backbones.columns import pads_last
from dept_vl.backbones.frozen import Backbone, TokenFacts
from dept_vl.backbones.loading import MissingBackbone, UnsupportedPrecision, WrongKind
from dept_vl.backbones.partial import (
    NoPartialModel,
    Part,
    evenly,
    invert,
    neuron_scores,
    partial,
    sort_neurons,
    whole,
)
from dept_vl.backbones.prompt_cache import MixedPrompts
from dept_vl.backbones.seq2seq import Seq2SeqBackbone

__all__ = [
    "Backbone",
    "BadCandidates",
    "CandidateTree",
    "CausalBackbone",
    "MissingBackbone",
    "MixedPrompts",
    "NoPartialModel",
    "NothingToContinue",
    "Part",
    "Seq2SeqBackbone",
    "TokenFacts",
    "TooManyPositions",
    "UnsupportedPrecision",
    "WrongKind",
    "choose",
    "evenly",
    "invert",
    "load_backbone",
    "neuron_scores",
    "pads_last",
    "partial",
    "sort_neurons",
    "whole",
]
