"""MultiRC's scores: F1 over all answers, and F1 and exact match by question.

Khashabi et al., NAACL 2018; Wang et al., NeurIPS 2019, arXiv:1905.00537. With the answers of a question as its group:

    f1_a = F1 of the class "right" over all answers,    exact_match = share of questions with every answer judged right,
    f1_m = mean over questions of the mean F1 of the classes that the question has or was given

f1_m is the hub's (`evaluate`, super_glue); the data set's own script instead takes the harmonic mean of precision and
recall, each averaged over questions. SuperGLUE's table prints f1_a and exact_match.
"""

from collections.abc import Sequence
from typing import Any

from dept_vl.metrics.labels import class_f1, numbered


def multirc_scores(task: Any, predictions: Sequence[str], examples: Sequence[Any]) -> dict[str, float]:
    """f1, f1_a (the same number under SuperGLUE's name), f1_m and exact_match as fractions.

    Raises: ValueError for an example without a group.
    """
    truth, given = numbered(task.labels, [example.references[0] for example in examples], predictions)
    questions: dict[str, tuple[list[int], list[int]]] = {}
    for example, wanted, got in zip(examples, truth, given, strict=True):
        if example.group is None:
            raise ValueError(f"wanted the question of every answer as its group, given none for {example.id!r}")
        golds, answers = questions.setdefault(example.group, ([], []))
        golds.append(wanted)
        answers.append(got)
    over_all = class_f1(truth, given, 1)
    return {
        "f1": over_all,
        "f1_a": over_all,
        "f1_m": sum(_mean_f1(*each) for each in questions.values()) / len(questions),
        "exact_match": sum(golds == answers for golds, answers in questions.values()) / len(questions),
    }


def _mean_f1(truth: list[int], given: list[int]) -> float:
    present = {*truth, *given}
    return sum(class_f1(truth, given, number) for number in present) / len(present)
