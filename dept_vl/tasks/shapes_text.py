"""Text tasks about generated scenes: BoolQ, RTE, QNLI, CoLA and SQuAD on `shapes.text` in place of the official sets.

    {"question": "Is there a red cross?", "passage": "small red cross at the top left; ...", "label": true, "idx": 0}

Template, scores and file format are those of the task that each is made from. Splits are the set's own. Entailment is
the second class here, so that its digit is 1 as in BoolQ: with 0 for what holds, the embedded T5, whose digits count,
answers the wrong way round and 400 steps do not turn it (docs/decisions.md).
"""

import dataclasses
from typing import Any

from dept_vl.embedded.shapes.text import TEXT_SETS, TEXT_SIZES
from dept_vl.tasks.glue import GLUE
from dept_vl.tasks.source import Source, Splits, either
from dept_vl.tasks.squad import SQUAD
from dept_vl.tasks.superglue import SUPERGLUE
from dept_vl.tasks.text_task import TextTask

LONGEST = 48  # tokens of a source text with the tokenizer of tiny-t5: a spatial question about three things
_PUBLISHED = {"train": "train", "val": "validation", "test": "test"}
_OFFICIAL = {task.name: task for task in (*GLUE, *SUPERGLUE, *SQUAD)}
_NOT_ENTAILMENT_FIRST = {"label_names": ("not_entailment", "entailment")}


def _shapes(name: str, official: TextTask, columns: tuple[str, ...] = (), **changes: Any) -> TextTask:
    """The official task, on the set of that name."""
    made = TEXT_SETS[name]
    return dataclasses.replace(
        official,
        name=f"shapes-{name}",
        source=Source(
            folders=(made.folder,),
            files={_PUBLISHED[split]: either(file, columns=columns) for split, file in made.files.items()},
            home="scripts/prepare_data.py, which writes it",
            whole={_PUBLISHED[split]: rows for split, rows in TEXT_SIZES.items()},
            unfold=official.source.unfold,
        ),
        splits=Splits(
            "own", val="validation", test="test", sizes=(TEXT_SIZES["train"], TEXT_SIZES["val"], TEXT_SIZES["test"])
        ),
        protocols={"own_splits": {}},
        protocol="own_splits",
        max_source_length=LONGEST,
        max_target_length=10,
        base=None,
        **changes,
    )


SHAPES_TEXT = (
    _shapes("boolq", _OFFICIAL["superglue-boolq"]),
    _shapes("rte", _OFFICIAL["superglue-rte"], **_NOT_ENTAILMENT_FIRST),
    _shapes("qnli", _OFFICIAL["qnli"], **_NOT_ENTAILMENT_FIRST),
    _shapes("cola", _OFFICIAL["cola"], _OFFICIAL["cola"].source.files["train"][0].columns),
    _shapes("squad", _OFFICIAL["squad"].under("official_dev")),
)
