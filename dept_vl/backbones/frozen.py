"""What a frozen backbone is, and how its identity is told."""

import hashlib
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn

_SAMPLE = 1 << 18  # values of each tensor that enter the hash: 0.5 MiB as bf16


class UnsupportedPrecision(ValueError):
    """A compute type in which the backbone is known to fail."""


class Backbone(nn.Module, ABC):
    """A frozen language model. Its weights never train; `training` only switches its dropout."""

    d_model: int

    @abstractmethod
    def embed(self, ids: Integer[Tensor, "batch seq"]) -> Float[Tensor, "batch seq d_model"]:
        """The rows of the embedding table, unshifted."""

    @property
    @abstractmethod
    def embedding_table(self) -> Float[Tensor, "vocabulary d_model"]:
        """The frozen table, for reading start vectors; never to be written."""

    @abstractmethod
    def loss(
        self,
        embeds: Float[Tensor, "batch out d_model"],
        mask: Integer[Tensor, "batch out"],
        labels: Integer[Tensor, "batch target"],
    ) -> Float[Tensor, " batch"]:
        """Nats per target token, averaged over each row's own tokens; labels are -100 where there is none."""

    @abstractmethod
    def generate(
        self,
        embeds: Float[Tensor, "batch out d_model"],
        mask: Integer[Tensor, "batch out"],
        *,
        max_new_tokens: int,
        num_beams: int,
    ) -> Integer[Tensor, "batch target"]:
        """Token ids of the answers, special tokens included."""

    @abstractmethod
    def identity(self) -> dict[str, str | None]:
        """base_model_name_or_path, revision and backbone_sha256."""


def freeze(model: nn.Module) -> nn.Module:
    """No weight of `model` asks for a gradient; evaluation mode."""
    return model.requires_grad_(False).eval()


def content_hash(model: nn.Module) -> str:
    """sha256 over the names, shapes and first values of all tensors, as bf16.

    As bf16, so that a model has one hash whether it was loaded in 32 or 16 bits; the first 2^18 values of each
    tensor, so that 11 B weights are hashed in seconds. Tied weights count once under each name that state_dict has.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        values = tensor.detach().flatten()[:_SAMPLE]
        if values.is_floating_point():
            values = values.to(torch.bfloat16).view(torch.int16)
        digest.update(values.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
