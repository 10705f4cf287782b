"""Text lengths that stand for GLUE's and VQA v2's, and examples of those lengths in words of one token each.

GLUE: the mean source length of each set is that of DePT's Table 9 (arXiv:2309.05173, "average length of the source
sentences in the training set"), read as tokens ("table9"). It seems to count words: the real rows that `padding` reads
have, with their templates and under T5's tokenizer, means of 17.0 (CoLA), 35.4 (STS-B), 61.3 (MRPC) and 76.3 (RTE),
near 5.7 + 1.3 x Table 9's; "tokens" takes that. Lengths are log-normal around the mean with the deviation SIGMA of
their logarithm (0.23 to 0.50 in those sets, 0.38 the middle), cut to 3 .. 256.
VQA: `vqa: {question}` with its end has about 12 tokens and at most 20 (CLIP-T5's length).
"""

from collections.abc import Sequence

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from dept_vl.data.batches import EncodedExamples
from dept_vl.tasks.example import Example

GLUE_MEANS = {
    "mnli": 31.8, "qqp": 24.1, "qnli": 38.4, "sst2": 10.4, "stsb": 21.9, "mrpc": 45.9, "rte": 54.4, "cola": 8.7,
}  # fmt: skip
FOUR_SETS = ("cola", "stsb", "mnli", "rte")  # their mean, 29.2, is near that of all eight, 29.4
VQA_MEAN = 12.0
SIGMA, VQA_SIGMA = 0.38, 0.2
SOURCE_LENGTH, VQA_LENGTH = 256, 20
WORDS = 1000
READINGS = ("table9", "tokens")


def draw(mean: float, number: int, rng: np.random.Generator, *, sigma: float = SIGMA, most: int = 256) -> np.ndarray:
    """Lengths in tokens, log-normal with that mean before they are cut to 3 .. most."""
    lengths = rng.lognormal(np.log(mean) - sigma**2 / 2, sigma, number)
    return lengths.round().astype(np.int64).clip(3, most)


def glue_lengths(name: str, number: int, seed: int, reading: str = "table9") -> np.ndarray:
    """Lengths of one set's rows; `reading` is "table9" or "tokens" as above. Raises: ValueError for another."""
    if reading not in READINGS:
        raise ValueError(f"lengths: wanted {' or '.join(READINGS)}, given {reading!r}")
    rng = np.random.default_rng([seed, list(GLUE_MEANS).index(name)])
    mean = GLUE_MEANS[name] if reading == "table9" else 5.7 + 1.3 * GLUE_MEANS[name]
    return draw(mean, number, rng, most=SOURCE_LENGTH)


def vqa_lengths(number: int, seed: int) -> np.ndarray:
    return draw(VQA_MEAN, number, np.random.default_rng([seed, 99]), sigma=VQA_SIGMA, most=VQA_LENGTH)


def word_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of words "w0" to "w999", one token each, with an end token behind a text."""
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    words = [*special.values(), *(f"w{number}" for number in range(WORDS))]
    tokenizer = Tokenizer(models.WordLevel({word: row for row, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=100_000, **special)


def encoded(lengths: Sequence[int] | np.ndarray, seed: int, images: Sequence[str] | None = None) -> EncodedExamples:
    """Examples with sources of those lengths, the end token included, and a target of one word and the end token."""
    rng = np.random.default_rng([seed, 7])
    words = [f"w{number}" for number in range(WORDS)]
    examples = [
        Example(
            id=place,
            source=" ".join(words[each] for each in rng.integers(0, WORDS, length - 1)),
            targets=(words[place % 2],),
            weights=(1.0,),
            references=(words[place % 2],),
            image=None if images is None else images[place % len(images)],
        )
        for place, length in enumerate(lengths)
    ]
    return EncodedExamples(examples, word_tokenizer(), max_source_length=SOURCE_LENGTH, max_target_length=8)
