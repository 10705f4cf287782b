"""Frozen language models behind one small interface; only embeddings enter them."""

from dept_vl.backbones.frozen import Backbone, UnsupportedPrecision
from dept_vl.backbones.seq2seq import Seq2SeqBackbone, load_seq2seq

__all__ = ["Backbone", "Seq2SeqBackbone", "UnsupportedPrecision", "load_seq2seq"]
