"""Visual question answering, open-ended, scored as VQA v2 where there are enough answers, else as the data allow.

    {"question_id": 71002, "image": "COCO_train2014_000000000071.jpg", "question_type": "is this",
     "question": "Is this train headed towards or from the orange building?", "answer_type": "other",
     "answers": ("from", "away from", "from", ...)}          # ten people, or one or more, in their own spelling

A target is drawn once per visit in proportion to its soft score; of fewer than four answers, in proportion to how many
gave it. The score is not also put on the loss, as VL-T5's and VL_adapter's code does: an answer would count with its
square.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from dept_vl.metrics import answers as scores
from dept_vl.metrics.vqa import FEWEST_ANSWERS, check_answers, check_protocol, leave_one_out, normalise_answer
from dept_vl.tasks.example import Example, part_warnings, template_fields
from dept_vl.tasks.text_task import render

_normalise = lru_cache(maxsize=1 << 16)(normalise_answer)  # VQA v2's 6.6 million answers repeat


@dataclass(frozen=True)
class VqaTask:
    """template: the source text; it must use `{question}` and nothing else, and for a causal model its end
    is the answer's cue. protocol: of VQA accuracy, see metrics.vqa.
    metric: the name of a score of metrics.answers, or auto until `suited` has seen what is scored.
    candidates: the answers among which one forward pass chooses; () where they are free. Training is the same."""

    template: str = "vqa: {question}"
    protocol: str = "official-2021"
    metric: str = scores.VQA_ACCURACY
    candidates: tuple[str, ...] = ()
    causal_template: ClassVar[str] = "Question: {question} Answer:"  # of a decoder-only model, where none is given
    name: ClassVar[str] = "vqa"
    visual: ClassVar[bool] = True
    hub: ClassVar[None] = None  # read from official files only
    label_meanings: ClassVar[Mapping[str, str]] = {}
    max_source_length: ClassVar[int] = 20  # tokens, as CLIP-T5's scripts have it
    max_target_length: ClassVar[int] = 10

    def __post_init__(self) -> None:
        if template_fields(self.template) != {"question"}:
            raise ValueError(f"template: wanted the field {{question}} and no other, given {self.template!r}")
        check_protocol(self.protocol)
        scores.check_score(self.metric)

    @property
    def headline(self) -> str:
        """The name of the reported number."""
        return self.metric

    @property
    def selecting(self) -> tuple[str, ...]:
        """The numbers that may choose a checkpoint; of a task that has not seen its data those that it may come to."""
        return scores.CHOSEN_BY_DATA if self.metric == scores.AUTO else (self.metric,)

    @property
    def fewest_answers(self) -> int:
        """Reference answers that a question needs."""
        return FEWEST_ANSWERS if self.metric == scores.VQA_ACCURACY else 1

    def suited(self, examples: Sequence[Example]) -> VqaTask:
        """The task with the score that the examples to be scored allow, where it is left to them.

        Raises: TooFewAnswers, TooManyAnswers for a score asked for by name that they do not allow.
        """
        if self.metric == scores.AUTO:
            return dataclasses.replace(self, metric=scores.choose_score({len(each.references) for each in examples}))
        for each in examples:
            scores.check_for(self.metric, each.references)
        return self

    def among_commonest(self, train: Sequence[Example], number: int) -> VqaTask:
        """The task that chooses among the commonest targets of training, at most `number`; equally common ones by
        their spelling."""
        counts: dict[str, float] = defaultdict(float)
        for each in train:
            for target, weight in zip(each.targets, each.weights, strict=True):
                counts[target] += weight
        ranked = sorted(counts, key=lambda target: (-counts[target], target))
        return dataclasses.replace(self, candidates=tuple(ranked[:number]))

    def answerable(self, examples: Sequence[Example]) -> int:
        """How many of the examples have one of the candidates among their references, normalised as they are scored."""
        listed = {_normalise(each) or each.strip() for each in self.candidates}
        return sum(any((_normalise(each) or each.strip()) in listed for each in one.references) for one in examples)

    def read(self, row: Mapping[str, Any]) -> Example | None:
        """An example, or None when every answer of the row is blank or, of four or more scored by VQA accuracy,
        normalises to nothing ("", "the", "...").

        Raises: TooFewAnswers.
        """
        references = tuple(row["answers"])
        check_answers(references, self.fewest_answers)
        soft = self.metric in (scores.AUTO, scores.VQA_ACCURACY) and len(references) >= FEWEST_ANSWERS
        targets, weights = _targets(references, soft)
        if not targets:
            return None
        question = row["question"].strip()
        source, context = self.fill(question)
        return Example(
            id=row["question_id"],
            source=source,
            targets=targets,
            weights=weights,
            references=references,
            image=row["image"],
            question_type=row.get("question_type"),
            answer_type=row.get("answer_type"),
            text=question,
            context=context,
        )

    def fill(self, question: str) -> tuple[str, tuple[int, int] | None]:
        """The source text, and where in it the question stands if a too long text has to lose that and not its end."""
        if self.template.endswith("{question}"):
            return self.template.format(question=question), None
        return render(self.template, {"question": question}, "question")

    def score(
        self, predictions: Mapping[Any, str], examples: Sequence[Example], *, split_size: int | None = None
    ) -> dict[str, Any]:
        """The score as a fraction under its own name, in all and by type, with its protocol and a list of warnings.

        split_size: how many questions the whole split holds (`Loaded.counts["in_split"]`), if known.
        """
        result = scores.score_answers(
            self.metric,
            predictions,
            {example.id: example.references for example in examples},
            {example.id: example.question_type for example in examples},
            {example.id: example.answer_type for example in examples},
            self.protocol,
        )
        return {**result, "warnings": part_warnings("questions", len(examples), split_size)}

    def under(self, protocol: str) -> VqaTask:
        """The task under another protocol."""
        return dataclasses.replace(self, protocol=protocol)

    def constant_answers(
        self, train: Sequence[Example], val: Sequence[Example], test: Sequence[Example]
    ) -> dict[str, dict[Any, str]]:
        """For each example the commonest answer of its question type in training (of all types, if the type is new).

        Of VQA accuracy in normalised form; other scores compare other forms ("-5" would lose its sign), so there it is
        spelled as most people spelled it.
        """
        official = self.metric == scores.VQA_ACCURACY
        normalise = _normalise if official else scores.normalise
        by_type: dict[str | None, Counter[str]] = {}
        spellings: dict[str, Counter[str]] = {}
        for example in train:
            for answer in example.references:
                normal = normalise(answer)
                spellings.setdefault(normal, Counter())[normal if official else answer.strip()] += 1
                for kind in (example.question_type, None):
                    by_type.setdefault(kind, Counter())[normal] += 1
        commonest = {
            kind: spellings[counter.most_common(1)[0][0]].most_common(1)[0][0] for kind, counter in by_type.items()
        }
        return {"majority": {each.id: commonest.get(each.question_type, commonest[None]) for each in test}}


@lru_cache(maxsize=1 << 16)  # ten times "yes" is an answer to many questions
def _targets(answers: tuple[str, ...], soft: bool) -> tuple[tuple[str, ...], tuple[float, ...]]:
    weights = soft_targets(answers) if soft else plain_targets(answers)
    return tuple(weights), _shares(tuple(weights.values()))


@lru_cache(maxsize=1 << 10)  # ten answers fall into few patterns
def _shares(weights: tuple[float, ...]) -> tuple[float, ...]:
    total = sum(weights)
    return tuple(weight / total for weight in weights)


def soft_targets(answers: Sequence[str]) -> dict[str, float]:
    """Targets with their soft scores, the best first: the official accuracy, with ten people 0.3, 0.6, 0.9 or 1.

    Answers that normalise alike ("2", "two") are one target, spelled as most people spelled it, in lower
    case and stripped: what a generator should emit. Those that normalise to nothing are left out.
    """
    counts: dict[str, int] = {}  # plain dicts: a Counter each would take as long as all the rest
    for answer in answers:
        counts[answer] = counts.get(answer, 0) + 1
    spellings: dict[str, dict[str, int]] = {}
    for answer, number in counts.items():
        normal, spelling = _spelt(answer)
        if normal:
            group = spellings.setdefault(normal, {})
            group[spelling] = group.get(spelling, 0) + number
    groups = sorted(spellings.values(), key=lambda group: -sum(group.values()))
    return {max(group, key=group.__getitem__): _accuracy(sum(group.values()), len(answers)) for group in groups}


_accuracy = lru_cache(leave_one_out)


@lru_cache(maxsize=1 << 16)  # VQA v2's 6.6 million answers repeat
def _spelt(answer: str) -> tuple[str, str]:
    """As it is compared, and as a generator should emit it."""
    return normalise_answer(answer), answer.strip().lower()


def plain_targets(answers: Sequence[str]) -> dict[str, float]:
    """Targets with the number of answers that are one, the commonest first, as most people wrote them, case and all:
    what a set with one answer a question has to teach. Blank answers are left out."""
    spellings: dict[str, Counter[str]] = {}
    for answer in answers:
        if spelling := answer.strip():
            spellings.setdefault(scores.normalise(spelling), Counter())[spelling] += 1
    groups = sorted(spellings.values(), key=lambda group: -group.total())
    return {group.most_common(1)[0][0]: float(group.total()) for group in groups}
