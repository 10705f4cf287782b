"""From a network and examples to answers by id: chosen among candidate strings, or generated freely."""

import collections
import dataclasses
from collections.abc import Hashable, Mapping

from accelerate import Accelerator
from accelerate.utils import gather_object
from tqdm import tqdm

from dept_vl.backbones import BadCandidates, CandidateTree
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
    free: generate all the same; what spells a candidate is that candidate, whatever case the tokenizer keeps.
    """

    max_new_tokens: int
    num_beams: int = 1
    candidates: tuple[str, ...] = ()
    free: bool = False


class Answerer:
    """From a batch to its answers as text. Raises: BadCandidates where two candidates have the same tokens."""

    def __init__(self, network: Network, tokenizer: Tokenizer, decoding: Decoding) -> None:
        self.network, self.tokenizer, self.decoding = network, tokenizer, decoding
        targets = encode_targets(tokenizer, decoding.candidates, network.backbone.text_form)
        try:
            self._tree = CandidateTree(targets) if targets and not decoding.free else None
        except BadCandidates as error:
            strings = ", ".join(f"{place} {each!r}" for place, each in enumerate(decoding.candidates[:20]))
            raise BadCandidates(f"{tokenizer.name_or_path}: {error} (the candidates are {strings})") from error
        spelt = tokenizer.batch_decode(targets, skip_special_tokens=True) if targets else []
        self._known = {text.strip(): candidate for text, candidate in zip(spelt, decoding.candidates, strict=True)}

    @property
    def longest_candidate(self) -> int:
        """Tokens, the end token included."""
        return max(map(len, self._tree.rows))

    def __call__(self, batch: Batch, *, blind: bool = False) -> list[str]:
        """`blind` zeroes the visual tokens."""
        given = self.decoding
        if self._tree is not None:
            return [given.candidates[place] for place in self.network.choose(batch, self._tree, blind=blind).tolist()]
        sizes = {"max_new_tokens": given.max_new_tokens, "num_beams": given.num_beams}
        ids = self.network.generate(batch, **sizes, blind=blind)
        texts = (text.strip() for text in self.tokenizer.batch_decode(ids, skip_special_tokens=True))
        return [self._known.get(text, text) for text in texts]


def predict(
    accelerator: Accelerator,
    network: Network,
    tokenizer: Tokenizer,
    encoded: EncodedExamples,
    gather: Gather | None,
    decoding: Decoding,
    *,
    batch_size: int = 256,
    progress: bool = False,
    blind: bool = False,
) -> dict[Hashable, str]:
    """The answer to every example, by id, on every process.

    Raises:
        IncompleteEvaluation: the processes together did not answer each example exactly once.
    """
    network.eval()
    rank, world = accelerator.process_index, accelerator.num_processes
    by_image = network.shares_images
    batches = evaluation_batches(encoded, gather, batch_size=batch_size, rank=rank, world=world, by_image=by_image)
    total, quiet = -(-len(encoded) // (batch_size * world)), not (progress and accelerator.is_main_process)
    answer = Answerer(network, tokenizer, decoding)
    answers: list[tuple[Hashable, str]] = []
    for batch in tqdm(batches, desc="evaluate", total=total, disable=quiet):
        with accelerator.autocast():
            answers += zip(batch.ids, answer(batch.to(accelerator.device), blind=blind), strict=True)
    answers = gather_object([each for each in answers if each[0] is not FILLER])
    counts = collections.Counter(id for id, _ in answers)
    if len(counts) != len(answers) or len(counts) != len(encoded):
        raise IncompleteEvaluation(
            f"wanted each of {len(encoded)} examples answered once, given {len(answers)} answers to {len(counts)}"
        )
    return dict(answers)


def histogram(predictions: Mapping[Hashable, str], most: int = 20) -> dict[str, int]:
    """The commonest answers with their counts, so that a constant predictor shows."""
    return dict(collections.Counter(predictions.values()).most_common(most))
