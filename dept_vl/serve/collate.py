"""Rows as the network reads them: token ids and mask, with a warning for what is cut or lost."""

import warnings
from collections.abc import Sequence

from dept_vl.batch import Batch
from dept_vl.data.batches import EncodedExamples
from dept_vl.data.carried import tell
from dept_vl.data.text import Kind
from dept_vl.data.tokenizer import Tokenizer
from dept_vl.registry import DeptVLWarning
from dept_vl.serve.rows import Row
from dept_vl.tasks.example import Example


def collate_rows(rows: Sequence[Row], tokenizer: Tokenizer, kind: Kind) -> Batch:
    """The texts of rows of one `max_source_length` and `own_cue`, on the CPU."""
    length = rows[0].max_source_length
    encoded = EncodedExamples(
        [Example(row.place, row.source, (), (), (), context=row.context, frame=row.frame) for row in rows],
        tokenizer,
        kind=kind,
        max_source_length=length,
        max_target_length=rows[0].decoding.max_new_tokens,
        trained=False,
        own_cue=rows[0].own_cue,
    )
    if cut := encoded.counts["sources_cut"]:
        warnings.warn(
            f"{cut} of {len(rows)} texts have more than max_source_length={length} tokens: their contexts, or their "
            "ends, were cut",
            DeptVLWarning,
            stacklevel=5,
        )
    tell("texts", encoded.losses["sources"], above=0.0)
    return encoded.collate(range(len(rows)), None)
