"""Scores as pure functions over complete sets of strings, as the official evaluators count them."""

from dept_vl.metrics.files import score_caption_files, score_vqa_files
from dept_vl.metrics.ids import MissingPrediction
from dept_vl.metrics.vqa import TooFewAnswers

__all__ = ["MissingPrediction", "TooFewAnswers", "score_caption_files", "score_vqa_files"]
