"""Row 10: the share of text tokens that are pads, over an epoch of training batches.

Real texts under the real T5 tokenizer where a folder beside the checkout has them (`../shared/realdata`), drawn lengths
(lengths.py) where it has not. Only text is counted: with the prompt, which pads nothing, the share would be smaller.
"""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.lengths import GLUE_MEANS, VQA_LENGTH, encoded, glue_lengths, vqa_lengths
from benchmarks.setting import Setting
from benchmarks.table import Line, Measured, Target, exactly
from dept_vl.data.batches import EncodedExamples, TrainingBatches
from dept_vl.data.data_root import MissingFile
from dept_vl.data.text_sources import load_text
from dept_vl.data.tokenizer import Tokenizer, load_tokenizer
from dept_vl.data.vqa2 import read_questions
from dept_vl.tasks import TASKS
from dept_vl.tasks.example import Example

REAL = Path(__file__).resolve().parents[2] / "shared" / "realdata"
QUESTIONS = "coco_open/v2_OpenEnded_mscoco_train2014_questions.json"
MORE_QUESTIONS = "coco_open/aokvqa_v1p0_val.json.gz"
ROWS, SYNTHETIC = 32, 3200
AT_MOST = Target("<=", 0.05)


def padding(setting: Setting) -> Measured:
    """Pads / all columns of text. Bucketed: as `TrainingBatches` gives them; loose: the same rows shuffled."""
    glue, sources = glue_sets(setting)
    vqa, asked = vqa_questions(setting)
    bucketed = {name: _columns(each, setting.seed) for name, each in {**glue, "vqa": vqa}.items()}
    loose = {name: _loose_columns(each, setting.seed) for name, each in {**glue, "vqa": vqa}.items()}
    sets = f"GLUE, {len(glue)} sets"
    lines = [Line(f"{sets}, bucketed", exactly(_share([bucketed[name] for name in glue])), AT_MOST, "%")]
    lines += [Line(f"{name}, bucketed", exactly(_share([bucketed[name]])), None, "%") for name in glue]
    lines.append(Line(f"{sets}, loose", exactly(_share([loose[name] for name in glue])), None, "%"))
    lines.append(Line("VQA, bucketed", exactly(_share([bucketed["vqa"]])), AT_MOST, "%"))
    lines.append(Line("VQA, loose", exactly(_share([loose["vqa"]])), None, "%"))
    facts = {"batch_rows": ROWS, "glue": sources, "vqa": asked}
    facts["lengths"] = {name: _facts(each) for name, each in {**glue, "vqa": vqa}.items()}
    return Measured(lines, {}, facts)


def glue_sets(setting: Setting) -> tuple[dict[str, EncodedExamples], str]:
    """Each set's training rows and where they are from."""
    if setting.tiny or not REAL.is_dir():
        number = 64 if setting.tiny else SYNTHETIC
        drawn = {
            name: encoded(glue_lengths(name, number, setting.seed, setting.lengths), setting.seed)
            for name in GLUE_MEANS
        }
        return drawn, f"lengths drawn as {setting.lengths}, {number} rows a set"
    tokenizer, found = load_tokenizer(str(REAL / "tokenizers" / "t5")), {}
    for name in GLUE_MEANS:
        try:
            examples = load_text(REAL / "superglue_glue", "train", TASKS[name]).examples
        except MissingFile:
            continue  # the folder holds some of the sets; the table names how many
        found[name] = _tokenised(examples, tokenizer, 256)
    return found, f"real texts of {', '.join(found)} under T5's tokenizer (all that lie here)"


def vqa_questions(setting: Setting) -> tuple[EncodedExamples, str]:
    if setting.tiny or not REAL.is_dir():
        number = 64 if setting.tiny else SYNTHETIC
        return encoded(vqa_lengths(number, setting.seed), setting.seed), f"drawn lengths, {number} rows"
    asked = [row["question"] for row in read_questions(REAL / QUESTIONS)]
    with gzip.open(REAL / MORE_QUESTIONS, "rt", encoding="utf-8") as file:
        asked += [row["question"] for row in json.load(file)]
    examples = [
        Example(id=place, source=TASKS["vqa"].template.format(question=each), targets=("yes",), weights=(1.0,),
                references=("yes",))
        for place, each in enumerate(asked)
    ]  # fmt: skip
    read = _tokenised(examples, load_tokenizer(str(REAL / "tokenizers" / "t5")), VQA_LENGTH)
    return read, f"{len(asked):,} real questions (VQA v2 and A-OKVQA) under T5's tokenizer"


def _tokenised(examples: Sequence[Example], tokenizer: Tokenizer, length: int) -> EncodedExamples:
    return EncodedExamples(examples, tokenizer, max_source_length=length, max_target_length=8)


def _columns(examples: EncodedExamples, seed: int) -> tuple[int, int]:
    """Pads and all columns of the first epoch."""
    batches = TrainingBatches(examples, None, batch_size=ROWS, seed=seed)
    pads = columns = 0
    for number in range(batches.batches_per_epoch):
        mask = batches[number].mask
        pads, columns = pads + int((mask == 0).sum()), columns + mask.numel()
    return pads, columns


def _loose_columns(examples: EncodedExamples, seed: int) -> tuple[int, int]:
    lengths = examples.source_lengths[np.random.default_rng(seed).permutation(len(examples))]
    parts = [lengths[start : start + ROWS] for start in range(0, len(lengths), ROWS)]
    columns = int(sum(part.max() * len(part) for part in parts))
    return columns - int(lengths.sum()), columns


def _share(counts: Sequence[tuple[int, int]]) -> float:
    return sum(pads for pads, _ in counts) / sum(columns for _, columns in counts)


def _facts(examples: EncodedExamples) -> dict[str, float]:
    lengths = examples.source_lengths
    sigma = float(np.log(lengths).std())
    return {"rows": len(lengths), "mean": round(float(lengths.mean()), 1), "sigma_of_log": round(sigma, 2)}
