"""Studies: the papers' figures, tables and ablations on the embedded default, from files to a page of verdicts."""

from dept_vl.studies.command import add_arguments, is_asked, main
from dept_vl.studies.files import BadStudy, Study, load_studies

__all__ = ["BadStudy", "Study", "add_arguments", "is_asked", "load_studies", "main"]
