"""Rows as the network reads them: token ids and mask, with a notice of what is cut or lost."""

from collections.abc import Sequence

from dept_vl.batch import Batch
from dept_vl.data.batches import EncodedExamples
from dept_vl.data.text import Kind
from dept_vl.data.tokenizer import Tokenizer
from dept_vl.serve.notices import Notice
from dept_vl.serve.rows import Row
from dept_vl.tasks.example import Example


def collate_rows(rows: Sequence[Row], tokenizer: Tokenizer, kind: Kind, notice: Notice) -> Batch:
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
    notice(len(rows), length, encoded.counts["sources_cut"], encoded.losses["sources"])
    return encoded.collate(range(len(rows)), None)
