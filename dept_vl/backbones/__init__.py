"""Frozen language models behind one small interface; only embeddings enter them."""

from dept_vl.backbones.candidates import BadCandidates, CandidateTree, choose, rows_at_once
from dept_vl.backbones.causal import CausalBackbone
from dept_vl.backbones.choices import Choices
from dept_vl.backbones.columns import Embedded, joined, pads_last, stacked
from dept_vl.backbones.distillation import distance
from dept_vl.backbones.frozen import Backbone, Embeds, Mask, mean_nats, read_whole
from dept_vl.backbones.image_cache import SharedImages
from dept_vl.backbones.laws import check_laws
from dept_vl.backbones.loading import MissingBackbone, freeze, load_backbone
from dept_vl.backbones.partial import Submodel, evenly, invert, neuron_scores, partial, sort_neurons, whole
from dept_vl.backbones.seq2seq import Seq2SeqBackbone
from dept_vl.backbones.token_order import TOKEN_ORDERS, TokenOrder, WrongOrder, token_order

__all__ = [
    "Backbone",
    "BadCandidates",
    "CandidateTree",
    "CausalBackbone",
    "Choices",
    "Embedded",
    "Embeds",
    "Mask",
    "MissingBackbone",
    "Seq2SeqBackbone",
    "SharedImages",
    "Submodel",
    "TOKEN_ORDERS",
    "TokenOrder",
    "WrongOrder",
    "check_laws",
    "choose",
    "distance",
    "evenly",
    "freeze",
    "invert",
    "joined",
    "load_backbone",
    "mean_nats",
    "neuron_scores",
    "pads_last",
    "partial",
    "read_whole",
    "rows_at_once",
    "sort_neurons",
    "stacked",
    "token_order",
    "whole",
]
