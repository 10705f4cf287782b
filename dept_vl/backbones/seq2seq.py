"""A frozen encoder-decoder: T5 of any size, by name or folder."""

import functools
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, AutoModelForSeq2SeqLM, GenerationConfig, PreTrainedModel

from dept_vl.assets import embedded
from dept_vl.backbones.frozen import Backbone, UnsupportedPrecision, content_hash, freeze

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class MissingBackbone(ValueError):
    """A backbone that is neither a folder here, nor in the cache, nor to be had."""


def load_seq2seq(
    model_name_or_path: str,
    *,
    revision: str | None = None,
    dtype: str = "float32",
    attn_implementation: str | None = None,
) -> "Seq2SeqBackbone":
    """Loads and freezes a T5. "tiny-t5" is the embedded one; anything else is a folder or a hub name.

    `attn_implementation` None leaves the choice to transformers.

    Raises:
        UnsupportedPrecision: float16: T5's feed-forward activations overflow it.
        MissingBackbone: the name cannot be resolved, or its files cannot be read; the message says where it was sought.
    """
    check_dtype(dtype)
    path = embedded(model_name_or_path) or model_name_or_path
    try:
        config = AutoConfig.from_pretrained(path, revision=revision)
        if not config.is_encoder_decoder:
            raise MissingBackbone(
                f"{model_name_or_path}: wanted an encoder-decoder (T5), given a {config.model_type} model"
            )
        model = AutoModelForSeq2SeqLM.from_pretrained(
            path, revision=revision, dtype=DTYPES[dtype], attn_implementation=attn_implementation
        )
    except MissingBackbone:
        raise
    except (OSError, ValueError, SafetensorError) as error:  # a folder without config.json is a ValueError
        raise MissingBackbone(
            f"{model_name_or_path}: wanted a folder with config.json and weights, or a model name that the hub or the "
            f"local cache has (HF_HUB_OFFLINE=1 asks the cache alone). {str(error).splitlines()[0]}"
        ) from error
    name = str(model_name_or_path)
    return Seq2SeqBackbone(model, name=name if not Path(name).is_dir() else Path(name).name, revision=revision)


def check_dtype(dtype: str) -> None:
    """Raises: UnsupportedPrecision unless the type is one that a frozen T5 computes well in."""
    if dtype in ("float16", "fp16"):
        raise UnsupportedPrecision(
            "float16 with T5: its feed-forward activations pass 65,504 and turn into infinities; wanted float32 or "
            "bfloat16 (--bf16)"
        )
    if dtype not in DTYPES:
        raise UnsupportedPrecision(f"wanted a dtype of {', '.join(DTYPES)}, given {dtype!r}")


class Seq2SeqBackbone(Backbone):
    """T5 behind `Backbone`: the encoder reads embeddings, the decoder its labels."""

    def __init__(self, model: PreTrainedModel, *, name: str, revision: str | None = None) -> None:
        super().__init__()
        self.model = freeze(model)
        ids = model.generation_config
        self.model.generation_config = GenerationConfig(  # a checkpoint's own penalties would change what greedy means
            decoder_start_token_id=ids.decoder_start_token_id,
            eos_token_id=ids.eos_token_id,
            pad_token_id=ids.pad_token_id,
        )
        self.name, self.revision = name, revision
        self.d_model = model.config.d_model

    def embed(self, ids: Integer[Tensor, "batch seq"]) -> Float[Tensor, "batch seq d_model"]:
        return F.embedding(ids, self.embedding_table)

    @property
    def embedding_table(self) -> Float[Tensor, "vocabulary d_model"]:
        return self.model.get_input_embeddings().weight

    def loss(
        self,
        embeds: Float[Tensor, "batch out d_model"],
        mask: Integer[Tensor, "batch out"],
        labels: Integer[Tensor, "batch target"],
    ) -> Float[Tensor, " batch"]:
        targets = (labels != -100).sum(1)
        if not targets.all():
            raise ValueError(
                f"wanted at least one target token in every row, given none in {int((targets == 0).sum())}"
            )
        logits = self.logits(embeds, mask, labels)
        nats = F.cross_entropy(logits.float().transpose(1, 2), labels, reduction="none")  # [batch, target]
        return nats.sum(1) / targets

    def logits(
        self,
        embeds: Float[Tensor, "batch out d_model"],
        mask: Integer[Tensor, "batch out"],
        labels: Integer[Tensor, "batch target"],
    ) -> Float[Tensor, "batch target vocabulary"]:
        """What the decoder says at each target position, given the true tokens before it."""
        given = self.model.prepare_decoder_input_ids_from_labels(labels)  # `labels=` would compute a loss of its own
        return self.model(inputs_embeds=embeds, attention_mask=mask, decoder_input_ids=given, use_cache=False).logits

    @torch.no_grad()
    def generate(
        self,
        embeds: Float[Tensor, "batch out d_model"],
        mask: Integer[Tensor, "batch out"],
        *,
        max_new_tokens: int,
        num_beams: int = 1,
    ) -> Integer[Tensor, "batch target"]:
        return self.model.generate(
            inputs_embeds=embeds,
            attention_mask=mask,
            max_new_tokens=max_new_tokens,
            num_beams=num_beams,
            do_sample=False,
        )

    def identity(self) -> dict[str, str | None]:
        return {
            "base_model_name_or_path": self.name,
            "revision": self.revision,
            "backbone_sha256": self._sha256,
        }

    @functools.cached_property
    def _sha256(self) -> str:
        return content_hash(self.model)
