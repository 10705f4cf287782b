"""From a network and examples to answers by id, and the baselines that a score is read against."""

import collections
import dataclasses
from collections.abc import Hashable, Mapping, Sequence

from accelerate import Accelerator
from accelerate.utils import gather_object
from tqdm import tqdm

from dept_vl.data.batches import EncodedExamples, Gather, evaluation_batches
from dept_vl.data.text import Tokenizer
from dept_vl.metrics.captions import constant_cider
from dept_vl.metrics.vqa import normalise_answer
from dept_vl.model import Network
from dept_vl.tasks.example import Example


class IncompleteEvaluation(ValueError):
    """Examples answered twice or not at all."""


@dataclasses.dataclass(frozen=True)
class Decoding:
    """num_beams 1 is greedy. max_new_tokens counts the end token."""

    max_new_tokens: int
    num_beams: int = 1
    batch_size: int = 256
    progress: bool = False


def predict(
    accelerator: Accelerator,
    network: Network,
    tokenizer: Tokenizer,
    encoded: EncodedExamples,
    gather: Gather | None,
    decoding: Decoding,
    *,
    blind: bool = False,
) -> dict[Hashable, str]:
    """The answer to every example, by id, on every process. `blind` zeroes the visual tokens.

    Raises:
        IncompleteEvaluation: the processes together did not answer each example exactly once.
    """
    network.eval()
    batches = evaluation_batches(
        encoded, gather, batch_size=decoding.batch_size, rank=accelerator.process_index, world=accelerator.num_processes
    )
    total = -(-len(encoded) // (decoding.batch_size * accelerator.num_processes))
    quiet = not (decoding.progress and accelerator.is_main_process)
    answers: list[tuple[Hashable, str]] = []
    for batch in tqdm(batches, desc="evaluate", total=total, disable=quiet):
        with accelerator.autocast():
            ids = network.generate(
                batch.to(accelerator.device),
                max_new_tokens=decoding.max_new_tokens,
                num_beams=decoding.num_beams,
                blind=blind,
            )
        texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
        answers += zip(batch.ids, (text.strip() for text in texts), strict=True)
    answers = gather_object(answers)
    counts = collections.Counter(id for id, _ in answers)
    if len(counts) != len(answers) or len(counts) != len(encoded):
        raise IncompleteEvaluation(
            f"wanted each of {len(encoded)} examples answered once, given {len(answers)} answers to {len(counts)}"
        )
    return dict(answers)


def majority_answers(train: Sequence[Example], examples: Sequence[Example]) -> dict[Hashable, str]:
    """For each example the commonest answer of its question type in training (of all types, where the type is new)."""
    by_type: dict[str | None, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for example in train:
        for answer in example.references:
            for kind in (example.question_type, None):
                by_type[kind][normalise_answer(answer)] += 1
    commonest = {kind: counter.most_common(1)[0][0] for kind, counter in by_type.items()}
    return {example.id: commonest.get(example.question_type, commonest[None]) for example in examples}


def best_constant_caption(train: Sequence[Example], examples: Sequence[Example], candidates: int = 50) -> str:
    """The training caption that as a constant answer to `examples` has the highest CIDEr.

    Candidates are the commonest training captions and, to fill up to `candidates`, the first ones in order.
    """
    counter = collections.Counter(caption for example in train for caption in example.references)
    commonest = [caption for caption, _ in counter.most_common(candidates)]
    scores = constant_cider(commonest, {example.id: example.references for example in examples})
    return commonest[scores.index(max(scores))]


def histogram(predictions: Mapping[Hashable, str], most: int = 20) -> dict[str, int]:
    """The commonest answers with their counts, so that a constant predictor shows."""
    return dict(collections.Counter(predictions.values()).most_common(most))
