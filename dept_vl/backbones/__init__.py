"""Frozen language models behind one small interface; only embeddings enter them."""

from dept_vl.backbones.candidates import BadCandidates, CandidateTree, choose
from dept_vl.backbones.causal import CausalBackbone
from dept_vl.backbones.columns import pads_last
from dept_vl.backbones.frozen import Backbone, Embeds, Mask
from dept_vl.backbones.laws import check_laws
from dept_vl.backbones.loading import MissingBackbone, load_backbone
from dept_vl.backbones.partial import Submodel, evenly, invert, neuron_scores, partial, sort_neurons, whole
from dept_vl.backbones.seq2seq import Seq2SeqBackbone

__all__ = [
    "Backbone",
    "BadCandidates",
    "CandidateTree",
    "CausalBackbone",
    "Embeds",
    "Mask",
    "MissingBackbone",
    "Seq2SeqBackbone",
    "Submodel",
    "check_laws",
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
