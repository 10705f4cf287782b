"""From a network and examples to answers by id, chosen among candidate strings or decoded freely."""

import collections
import dataclasses
from collections.abc import Callable, Hashable, Mapping, Sequence

from accelerate import Accelerator
from accelerate.utils import gather_object
from tqdm import tqdm

from dept_vl.backbones import CandidateTree
from dept_vl.data.batches import FILLER, EncodedExamples, Gather, evaluation_batches
from dept_vl.data.text import encode_targets
from dept_vl.data.tokenizer import Tokenizer
from dept_vl.model import Batch, Network


class IncompleteEvaluation(ValueError):
    """Examples answered twice or not at all."""


@dataclasses.dataclass(frozen=True)
class Decoding:
    """How answers are found.

    max_new_tokens: of a free answer, its end token included. num_beams: 1 is greedy. candidates: the strings among
    which one forward pass chooses, as greedy decoding restricted to them would; () where the answer is free text.
    free: decode freely all the same; what spells a candidate is that candidate, whatever case the tokenizer keeps.
    """

    max_new_tokens: int
    num_beams: int = 1
    candidates: tuple[str, ...] = ()
    free: bool = False
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
    answer = _answerer(network, tokenizer, decoding, blind)
    answers: list[tuple[Hashable, str]] = []
    for batch in tqdm(batches, desc="evaluate", total=total, disable=quiet):
        with accelerator.autocast():
            answers += zip(batch.ids, answer(batch.to(accelerator.device)), strict=True)
    answers = gather_object([each for each in answers if each[0] is not FILLER])
    counts = collections.Counter(id for id, _ in answers)
    if len(counts) != len(answers) or len(counts) != len(encoded):
        raise IncompleteEvaluation(
            f"wanted each of {len(encoded)} examples answered once, given {len(answers)} answers to {len(counts)}"
        )
    return dict(answers)


def _answerer(
    network: Network, tokenizer: Tokenizer, decoding: Decoding, blind: bool
) -> Callable[[Batch], Sequence[str]]:
    if decoding.candidates and not decoding.free:
        tree = candidate_tree(tokenizer, decoding.candidates, network.backbone.kind)
        return lambda batch: [decoding.candidates[place] for place in network.choose(batch, tree).tolist()]
    targets = encode_targets(tokenizer, decoding.candidates, network.backbone.kind)
    spelt = tokenizer.batch_decode(targets, skip_special_tokens=True) if targets else []
    known = {text.strip(): candidate for text, candidate in zip(spelt, decoding.candidates, strict=True)}

    def decode(batch: Batch) -> list[str]:
        ids = network.generate(batch, max_new_tokens=decoding.max_new_tokens, num_beams=decoding.num_beams, blind=blind)
        said = (text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True))
        return [known.get(text, text) for text in said]

    return decode


def candidate_tree(tokenizer: Tokenizer, candidates: Sequence[str], kind: str) -> CandidateTree:
    """Raises: BadCandidates where two candidates have the same tokens."""
    return CandidateTree(encode_targets(tokenizer, candidates, kind))


def histogram(predictions: Mapping[Hashable, str], most: int = 20) -> dict[str, int]:
    """The commonest answers with their counts, so that a constant predictor shows."""
    return dict(collections.Counter(predictions.values()).most_common(most))
