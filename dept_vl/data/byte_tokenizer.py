"""ByT5's tokenizer as a fast one: transformers has it in Python alone, which does not say which characters a token
stands for.

    id = byte + 3,   behind <pad>, </s> and <unk>;   then <extra_id_0>, <extra_id_1>, ...

Xue et al., TACL 2022, arXiv:2105.13626.
"""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast


def fast_byt5(slow: ByT5Tokenizer) -> PreTrainedTokenizerFast:
    """The same tokens, ids and special tokens; each token of a character that takes several bytes stands for the whole
    character."""
    added = [token for _, token in sorted(slow.added_tokens_decoder.items())]
    special = [token.content for token in added[: slow.offset]]
    letters = _letters()
    vocabulary = {token: row for row, token in enumerate([*special, *letters])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token=slow.unk_token))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {slow.eos_token}", special_tokens=[(slow.eos_token, slow.eos_token_id)]
    )
    tokenizer.add_special_tokens(added)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        name_or_path=slow.name_or_path,
        model_max_length=slow.model_max_length,
        eos_token=slow.eos_token,
        unk_token=slow.unk_token,
        pad_token=slow.pad_token,
        clean_up_tokenization_spaces=False,
    )


def _letters() -> list[str]:
    """The character by which byte-level tokenizers write each byte, in order: the printable ones as they are, the
    others from 256 on."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]
