"""What sets families of language models apart, in one place: the scale of what they embed, the length of their rows,
the ids that begin and end an answer, and models of a known type that cannot be had.

Everything else asks here and knows no type by name. tests/backbones/test_families.py holds the laws over every type
of `CAUSAL_TYPES` and `SEQ2SEQ_TYPES`; docs/backbones.md has them in a table.
"""

from typing import Any

from jaxtyping import Float
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

CAUSAL_TYPES = (
    "gpt2", "llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "gemma3_text", "phi3", "olmo2", "smollm3",
    "gpt_neox", "opt", "falcon", "stablelm", "granite",
)  # fmt: skip
SEQ2SEQ_TYPES = ("t5", "mt5", "umt5", "longt5", "t5gemma", "bart", "pegasus")

_SCALED_BESIDE_THE_TABLE = ("pegasus",)  # by the encoder, which leaves embeddings as given
_BY_LONGEST_ROW = ("dynamic", "longrope")  # rotations that change for the whole batch once a row passes a length


class UnsupportedType(ValueError):
    """A model that cannot be read as this package reads models; the message has the reason."""


def check_direction(name: str, config: PretrainedConfig) -> None:
    """Raises: UnsupportedType for a decoder that its config lets read later tokens, as EmbeddingGemma's does."""
    for key, good in (("use_bidirectional_attention", False), ("is_causal", True)):
        given = getattr(config, key, good)
        if given is not None and given is not good:
            raise UnsupportedType(
                f"{name}: wanted a {config.model_type} model that reads from left to right, given {key}: {given} in "
                "config.json: no answer can be generated from it"
            )


def scale_beside_table(model: PreTrainedModel) -> float:
    """What the model multiplies a looked up row by, outside the embedding module, before it reads it."""
    if model.config.model_type in _SCALED_BESIDE_THE_TABLE:
        return float(model.get_encoder().embed_scale)
    return 1.0


def as_read(model: PreTrainedModel, rows: Float[Tensor, "rows d_model"]) -> Float[Tensor, "rows d_model"]:
    """Rows of the embedding table as the model reads them: Gemma's and a scaled BART's embedding multiplies them
    itself, rounded as here."""
    within: Any = getattr(model.get_input_embeddings(), "embed_scale", 1.0)
    if isinstance(within, Tensor):
        within = within.to(rows)
    scale = within * scale_beside_table(model)
    return rows if scale == 1 else rows * scale


def most_positions(config: PretrainedConfig) -> int:
    """How many positions a row may take. Raises: AttributeError for a config that does not say."""
    most = config.max_position_embeddings
    given = getattr(config, "rope_parameters", None) or {}
    rotations = [each for each in given.values() if isinstance(each, dict)] or [given]  # Gemma 3: one a kind of layer
    limits = [
        each.get("original_max_position_embeddings") or most
        for each in rotations
        if each.get("rope_type") in _BY_LONGEST_ROW
    ]
    if config.model_type not in CAUSAL_TYPES:  # no test reads one past its window
        limits.append(window(config) or most)
    return min([most, *limits])


def window(config: PretrainedConfig) -> int | None:
    """How many columns back, its own included, some layer of a decoder sees at most; None: all."""
    windows = [getattr(config, name, None) for name in ("sliding_window", "window_size")]
    return min(filter(None, windows), default=None)


def ends(model: PreTrainedModel) -> int | list[int] | None:
    """The id or ids that end an answer: the generation config's, since chat models have several there, or where it has
    none the model's own."""
    given = model.generation_config.eos_token_id
    return getattr(model.config, "eos_token_id", None) if given is None else given


def start(model: PreTrainedModel) -> int | None:
    """The id in front of an encoder-decoder's answers. T5Gemma's configs name none: it takes the decoder's beginning of
    sequence in training, so that it must in generation."""
    if model.config.model_type == "t5gemma":
        return model.config.decoder.bos_token_id
    return model.generation_config.decoder_start_token_id
