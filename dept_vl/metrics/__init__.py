"""Scores as pure functions over complete sets of strings, as the official evaluators count them."""

from dept_vl.metrics.captions import CaptionScores, score_captions
from dept_vl.metrics.files import BadFile, score_caption_files, score_vqa_files
from dept_vl.metrics.ids import MissingPrediction
from dept_vl.metrics.vqa import PROTOCOLS, normalise_answer, score_vqa, soft_scores, vqa_accuracy

__all__ = [
    "PROTOCOLS",
    "BadFile",
    "CaptionScores",
    "MissingPrediction",
    "normalise_answer",
    "score_caption_files",
    "score_captions",
    "score_vqa",
    "score_vqa_files",
    "soft_scores",
    "vqa_accuracy",
]
