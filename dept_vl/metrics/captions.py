"""Caption scores through pycocoevalcap: BLEU, METEOR, ROUGE-L, CIDEr-D and SPICE, as fractions.

Papers print all of them times 100. The order of the predictions, or of the images, changes nothing.

Quirks of the official code that we keep: CIDEr is CIDEr-D times 10 (so it may exceed 1), its word weights
come from the references of the *scored* images (a subset is not comparable with the whole split, and one
image alone always gets 0), and it counts length in bigrams.
"""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pycocoevalcap
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from dept_vl.metrics.ids import ItemId, check_ids, in_order
from dept_vl.metrics.java import NO_JAVA, JavaFailed, find_javas, first_on_path
from dept_vl.metrics.meteor import Meteor
from dept_vl.metrics.tokens import ptb_tokens, python_tokens
from dept_vl.registry import UnknownName, wanted_one_of

METRICS = ("Bleu", "METEOR", "ROUGE_L", "CIDEr", "SPICE")
METRICS_OF_JAVA = ("METEOR", "SPICE")
SPICE_FILES = tuple(
    Path(pycocoevalcap.__path__[0], "spice", "lib", f"stanford-corenlp-3.6.0{part}.jar") for part in ("", "-models")
)

Tokens = dict[ItemId, list[str]]


def score_captions(
    predictions: Mapping[ItemId, str],
    references: Mapping[ItemId, Sequence[str]],
    *,
    metrics: Sequence[str] = METRICS,
) -> dict[str, Any]:
    """Score one caption per image against all its references.

    Returns the corpus scores by name (`Bleu_1` .. `Bleu_4`, `METEOR`, `ROUGE_L`, `CIDEr`) and beside them `tokenizer`
    ("ptb", or "python" where no java runs), `skipped` (metric to the reason why it is not here) and `warnings`.
    metrics: a choice from METRICS; ("CIDEr",) is the fast one, with one short start of java and no METEOR.

    Raises: MissingPrediction unless both mappings have the same ids; ValueError for an image without
    references; UnknownName for a metric outside METRICS.
    """
    if unknown := [metric for metric in metrics if metric not in METRICS]:
        raise UnknownName(f"caption metrics: {wanted_one_of(METRICS, unknown[0])}")
    check_ids(predictions, references, "image")
    ids = in_order(references)
    _check_references(references)
    flat = [caption for key in ids for caption in references[key]] + [predictions[key] for key in ids]
    tokens, java, why_not = _tokenise(flat)
    gts, res = _by_image(tokens, ids, references)
    warnings = []
    if java is None:
        warnings.append(f"tokenised in Python, not by the official PTB tokenizer: {why_not}")
    if "CIDEr" in metrics and len(ids) == 1:
        warnings.append("CIDEr of a single image is always 0: its word weights come from the scored images")
    scores: dict[str, float] = {}
    skipped: dict[str, str] = {}
    for metric in METRICS:
        if metric not in metrics:
            continue
        if java is None and metric in METRICS_OF_JAVA:
            skipped[metric] = why_not
            continue
        try:
            scores |= _score(metric, gts, res, java)
        except JavaFailed as error:
            skipped[metric] = str(error)
    tokenizer = "python" if java is None else "ptb"
    return {**scores, "tokenizer": tokenizer, "skipped": skipped, "warnings": warnings}


def unavailable() -> dict[str, str]:
    """What `score_captions` would leave out on this machine, or tokenise in Python, and why, after one short start of
    java. METEOR may yet fail, as it starts for seconds; `fails` tries it."""
    _, java, why_not = _tokenise(["a dog"])
    if java is None:
        return dict.fromkeys((*METRICS_OF_JAVA, "the PTB tokenizer"), why_not)
    absent = _absent_spice_files()
    return {"SPICE": absent} if absent else {}


def fails(metric: str) -> str | None:
    """Why a metric of java's cannot be had on this machine, by computing it; None where it can."""
    captions: dict[ItemId, str] = {1: "a dog", 2: "two cats"}
    references = {key: [caption] for key, caption in captions.items()}
    skipped: dict[str, str] = score_captions(captions, references, metrics=(metric,))["skipped"]
    return skipped.get(metric)


def constant_cider(captions: Sequence[str], references: Mapping[ItemId, Sequence[str]]) -> list[float]:
    """The CIDEr of each caption as the answer to every image, with one start of java for all of them."""
    _check_references(references)
    ids = in_order(references)
    tokens, _, _ = _tokenise([caption for key in ids for caption in references[key]] + list(captions))
    given = iter(tokens)
    gts = {key: [next(given) for _ in references[key]] for key in ids}
    return [float(Cider().compute_score(gts, dict.fromkeys(ids, [caption]))[0]) for caption in given]


def _tokenise(captions: Sequence[str]) -> tuple[list[str], str | None, str]:
    """Tokens, the java that made them (None: Python did), and then why there is no java."""
    why_not = []
    for java in find_javas():
        try:
            return ptb_tokens(captions, java), java, ""
        except JavaFailed as error:
            why_not.append(str(error))
    return python_tokens(captions), None, "; ".join(why_not) or NO_JAVA


def _by_image(
    tokens: Sequence[str], ids: Sequence[ItemId], references: Mapping[ItemId, Sequence[str]]
) -> tuple[Tokens, Tokens]:
    """References and hypotheses by image, from one list that holds all references and then the hypotheses."""
    given = iter(tokens)
    gts = {key: [next(given) for _ in references[key]] for key in ids}
    if not any(caption for captions in gts.values() for caption in captions):
        raise ValueError(f"wanted references with at least one word, given none in {len(ids):,} images")
    return gts, {key: [next(given)] for key in ids}


def _score(metric: str, gts: Tokens, res: Tokens, java: str | None) -> dict[str, float]:
    if metric == "Bleu":
        corpus, _ = Bleu(4).compute_score(gts, res, verbose=0)
        return {f"Bleu_{n + 1}": float(score) for n, score in enumerate(corpus)}
    if metric in ("ROUGE_L", "CIDEr"):
        corpus, _ = (Rouge if metric == "ROUGE_L" else Cider)().compute_score(gts, res)
        return {metric: float(corpus)}
    assert java is not None
    if metric == "METEOR":
        with Meteor(java) as meteor:
            return {metric: meteor.score(gts, res)[0]}
    return {metric: _spice(gts, res, java)}


def _spice(gts: Tokens, res: Tokens, java: str) -> float:
    """SPICE where its models lie; pycocoevalcap would otherwise start to download them."""
    if absent := _absent_spice_files():
        raise JavaFailed(absent)
    from pycocoevalcap.spice.spice import Spice

    try:
        with first_on_path(java):
            numbered = [dict(enumerate(tokens.values())) for tokens in (gts, res)]  # it sorts the ids
            corpus, _ = Spice().compute_score(*numbered)
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        raise JavaFailed(f"SPICE did not finish: {error}") from error
    return float(corpus)


def _absent_spice_files() -> str:
    absent = [file.name for file in SPICE_FILES if not file.is_file()]
    return f"SPICE needs {' and '.join(absent)} in {SPICE_FILES[0].parent}" if absent else ""


def _check_references(references: Mapping[ItemId, Sequence[str]]) -> None:
    for key, captions in references.items():
        if isinstance(captions, str) or not captions:
            raise ValueError(f"image {key!r}: wanted a list of at least one reference, given {captions!r}")
