"""Tokenizers of a few dozen pieces in the make of LLaMA 2, and GPT-2's own from its published files."""

from pathlib import Path

LETTERS = sorted("abcdefghijklmnopqrstuvwxyzL0123456789.,:?▁")
SPECIAL = ("<unk>", "<s>", "</s>")
PIECES = (
    ("▁", "t"),
    ("h", "e"),
    ("▁t", "he"),
    ("▁", "r"),
    ("e", "d"),
    ("▁r", "ed"),
    ("▁", "1"),
    ("▁", "L"),
    ("b", "e"),
)


def write_llama(folder: Path, *, eos_behind: bool = False, pieces: tuple[tuple[str, str], ...] = PIECES) -> Path:
    """Sentencepiece's way: a space is a character of pieces and one stands before every text; <s> comes first.

    eos_behind: puts </s> behind every text. pieces: what BPE joins, in order.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = [*SPECIAL, *LETTERS, *(first + second for first, second in pieces)]
    model = models.BPE({piece: row for row, piece in enumerate(vocabulary)}, list(pieces), unk_token="<unk>")
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>" if eos_behind else "<s> $A", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    return folder


def write_gpt2(folder: Path, real: Path) -> Path:
    """GPT-2's tokenizer, which has no padding token, from vocab.json and merges.txt."""
    from transformers import GPT2TokenizerFast

    files = real / "tokenizers" / "gpt2"
    GPT2TokenizerFast(vocab=str(files / "vocab.json"), merges=str(files / "merges.txt")).save_pretrained(folder)
    return folder
