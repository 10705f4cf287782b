"""The tokenizer of tiny-clip and tiny-t5: byte-level BPE over lower-cased text.

Every word of Shapes is one piece; any other text is encoded without unknowns, in more pieces.
"""

import random
from importlib.resources import files
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from dept_vl.embedded.pretraining.language import sample_text
from dept_vl.embedded.shapes.language import captions
from dept_vl.embedded.shapes.world import sample_scene

VOCABULARY = 2048
PAD, EOS, UNKNOWN = "<pad>", "</s>", "<unk>"
_SHAPES_LINES = 20_000
_WORD_WEIGHT = 20  # how often each word of words.txt counts: enough for a piece or two a word, after all of Shapes'


def train_tokenizer(folder: Path, *, seed: int) -> PreTrainedTokenizerFast:
    """Trains the tokenizer on generated text and a list of common words; saves it in `folder`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        _lines(seed),
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=[PAD, EOS, UNKNOWN],  # ids 0, 1, 2, as in T5
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single=f"$A {EOS}", pair=f"$A {EOS} $B {EOS}", special_tokens=[(EOS, 1)]),
        ]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=EOS, unk_token=UNKNOWN, model_max_length=512
    )
    fast.save_pretrained(folder)
    return fast


def _lines(seed: int):
    rng = random.Random(f"tokenizer {seed}")
    for _ in range(_SHAPES_LINES):
        scene = sample_scene(rng, wanted_held_out=False)
        yield from sample_text(scene, rng)
        yield rng.choice(captions(scene, rng))
    for word in files("dept_vl.embedded.pretraining").joinpath("words.txt").read_text(encoding="utf-8").split():
        yield from [f"a {word}"] * _WORD_WEIGHT
