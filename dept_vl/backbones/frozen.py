"""The interface of a frozen language model, its identity and its loss."""

import functools
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from dept_vl.backbones import quirks
from dept_vl.backbones.image_cache import SharedImages

_SAMPLE = 1 << 18  # values of each tensor that enter the hash: 0.5 MiB as bf16

Embeds = Float[Tensor, "batch out d_model"]  # a prompt, then text and visual tokens
Mask = Integer[Tensor, "batch out"]  # 1 = a real token
Labels = Integer[Tensor, "batch target"]  # -100 = no token
Logits = Float[Tensor, "batch target vocabulary"]
Prefixes = Integer[Tensor, "path prefix"]  # beginnings of an answer
NextLogits = Float[Tensor, "batch path prefix_and_next vocabulary"]
TokenFacts = dict[str, int | list[int] | None]


class States(NamedTuple):
    """What a pass over targets gives: the logits at their positions, and the last hidden states of each stack with what
    is real in them."""

    logits: Logits
    hidden: tuple[tuple[Float[Tensor, "batch _ _"], Tensor], ...]  # the masks are [batch, column]


class Backbone(nn.Module, ABC):
    """A frozen language model. Its weights never train; `training` only switches its dropout. `attached` names the
    method that trains inside it, if any (dept_vl.tuning).

    `prompt_length`: how many first columns of `embeds` are the same prompt in every row, so that a causal model may
    compute it once; 0 makes no such claim. `images`: which columns behind those are the same in rows about one image.
    The subclasses say where pads may stand.
    """

    kind: ClassVar[Literal["seq2seq", "causal"]]
    task_type: ClassVar[str]  # as PEFT names it
    d_model: int
    max_positions: int | None  # how many tokens a row may have, prompt and answer included; None: no limit

    def __init__(self, model: PreTrainedModel, *, name: str, revision: str | None = None) -> None:
        """Freezes `model`; `name` and `revision` go into its identity."""
        super().__init__()
        self.model = model.requires_grad_(False).eval()
        self.name, self.revision = name, revision
        self.attached: str | None = None
        self.text_form: Literal["seq2seq", "causal", "chat"] = self.kind  # how a text is put to it
        self._beside = quirks.scale_beside_table(model)
        self.synced = False  # its weights are kept in parts: every process has to read it as often as the others do

    def changed(self) -> None:
        """The weights inside the model changed: drop cached results."""

    def chat(self, end: int) -> None:
        """From now on a text is the user's turn of the chat template, and an answer ends with the token `end`."""
        ends = self.model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [] if ends is None else [ends]
        self.model.generation_config.eos_token_id = ends if end in ends else [*ends, end]
        self.text_form = "chat"

    def attend_eagerly(self) -> bool:
        """From now on attention is transformers' own, with the same results but for rounding; false for the few models
        (Falcon's) that have to be loaded so. To be called before a method trains inside the model."""
        if not self.model._can_set_attn_implementation():
            return False
        self.model.set_attn_implementation("eager")
        return True

    def checkpoint_activations(self) -> None:
        """From now on a layer's activations are computed again in the backward pass instead of being kept, wherever
        `recompute` allows it: less memory for about a forward pass more. Results stay the same."""
        if hasattr(self.model, "activation_checkpointing_enable"):  # its name on the way to transformers 6
            self.model.activation_checkpointing_enable()
        else:
            self.model.gradient_checkpointing_enable()
        for layer in self.blocks():
            layer._gradient_checkpointing_func = partial(self._recomputed, layer, layer._gradient_checkpointing_func)

    def _recomputed(
        self, layer: nn.Module, checkpoint: Callable[..., Any], function: Callable[..., Any], *args: Any
    ) -> Any:
        """Some layers (BART's, OPT's) drop out by their own mode: while one computes it has that of the model."""

        def compute(*args: Any) -> Any:
            mode, layer.training = layer.training, self.model.training
            try:
                return function(*args)
            finally:
                layer.training = mode

        return checkpoint(compute, *args)

    def recompute(self, allowed: bool) -> None:
        """Of no effect without `checkpoint_activations`. transformers recomputes layers in training mode alone, which
        here would also switch the dropout of what is in them: so this mode is set on the layers themselves."""
        for layer in self.blocks():
            if layer.gradient_checkpointing:
                layer.training = allowed

    def blocks(self) -> list[nn.Module]:
        """The model's layers, of all its stacks."""
        return [each for each in self.model.modules() if isinstance(each, GradientCheckpointingLayer)]

    def embed(self, ids: Integer[Tensor, "batch seq"]) -> Float[Tensor, "batch seq d_model"]:
        """The rows of the embedding table, unshifted."""
        rows = self.model.get_input_embeddings()(ids)
        return rows if self._beside == 1 else rows * self._beside

    @property
    def vocabulary(self) -> int:
        """Rows of the embedding table."""
        return self.model.get_input_embeddings().num_embeddings

    @property
    def embedding_table(self) -> Float[Tensor, "vocabulary d_model"]:
        """The frozen table as the model reads its rows, for reading start vectors; never to be written. Where ZeRO-3
        keeps it in parts it is put together, it alone, and every process has to ask. Where a type scales what it embeds
        this is a copy of the whole table."""
        return quirks.as_read(self.model, read_whole(self.model.get_input_embeddings().weight))

    def loss(self, embeds: Embeds, mask: Mask, labels: Labels, label_smoothing: float = 0.0) -> Float[Tensor, " batch"]:
        """Nats per target token, averaged over each row's own tokens; labels are -100 where there is none."""
        return mean_nats(self.logits(embeds, mask, labels), labels, label_smoothing)

    @abstractmethod
    def logits(self, embeds: Embeds, mask: Mask, labels: Labels) -> Logits:
        """The logits at each target position, given the text and the true tokens before it."""

    @abstractmethod
    def states(self, embeds: Embeds, mask: Mask, labels: Labels) -> States:
        """`logits`, with the hidden states that they were read off."""

    @abstractmethod
    def generate(
        self,
        embeds: Embeds,
        mask: Mask,
        *,
        max_new_tokens: int,
        num_beams: int,
        prompt_length: int = 0,
        images: SharedImages | None = None,
        **options: Any,
    ) -> Labels:
        """Token ids of the answers, special tokens included. Greedy or by beams, unless `options` of transformers'
        `generate` say otherwise."""

    def _decode(self, **arguments: Any) -> Labels:
        return self.model.generate(**{"do_sample": False, "synced_gpus": self.synced, **arguments})

    @abstractmethod
    def next_token_logits(
        self,
        embeds: Embeds,
        mask: Mask,
        prefixes: Prefixes,
        *,
        prompt_length: int = 0,
        images: SharedImages | None = None,
    ) -> NextLogits:
        """What follows the first 0, 1, .. `prefix` tokens of each path as the beginning of the answer. No gradient.

        A path shorter than the longest is padded behind its tokens with any id; the columns past its end mean nothing.
        """

    def training_flops(self, batch: int, out: int, target: int) -> int | None:
        """Floating-point operations of one `loss` and its backward pass to `embeds`; None where there is no formula."""
        return None

    def identity(self) -> dict[str, str | None]:
        """base_model_name_or_path, revision and backbone_sha256."""
        return {"base_model_name_or_path": self.name, "revision": self.revision, "backbone_sha256": self._sha256}

    def token_facts(self) -> TokenFacts:
        """What a tokenizer must fit: "vocabulary" (rows of the table), and the model's own "bos_token_id",
        "eos_token_id" (a list where it has several) and "pad_token_id", None where it has none."""
        names = ("bos_token_id", "eos_token_id", "pad_token_id")
        special = {name: getattr(self.model.config, name, None) for name in names}
        return {"vocabulary": self.vocabulary} | special | {"eos_token_id": quirks.ends(self.model)}

    @functools.cached_property
    def _sha256(self) -> str:
        return content_hash(self.model)


@contextmanager
def recorded(module: nn.Module) -> Iterator[list[Tensor]]:
    """The hidden states that `module` gives in each of its passes meanwhile."""
    found: list[Tensor] = []
    handle = module.register_forward_hook(lambda module, inputs, output: found.append(output[0]))
    try:
        yield found
    finally:
        handle.remove()


def read_whole(weight: Tensor) -> Tensor:
    """`weight` itself, or a whole copy of it where DeepSpeed's ZeRO-3 keeps a part in each process; then every process
    has to call this. Only this weight is gathered, never the model."""
    if not hasattr(weight, "ds_id"):
        return weight
    import deepspeed

    with deepspeed.zero.GatheredParameters([weight]):
        return weight.detach().clone()


def content_hash(model: nn.Module) -> str:
    """sha256 over the names, shapes and first values of all tensors, as bf16.

    As bf16, so that a model has one hash whether it was loaded in 32 or 16 bits; the first 2^18 values of each
    tensor, so that 11 B weights are hashed in seconds. Tied weights count once under each name that state_dict has.
    Weights that ZeRO-3 keeps in parts are read whole one by one; every process has to call this then.
    """
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict(keep_vars=True).items()):
        tensor = read_whole(weight).detach()
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        values = tensor.flatten()[:_SAMPLE]
        if values.is_floating_point():
            values = values.to(torch.bfloat16).view(torch.int16)
        digest.update(values.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def count_targets(labels: Labels) -> Integer[Tensor, " batch"]:
    """The tokens of each row's target. Raises: ValueError for a row without any: its mean would be 0 / 0."""
    targets = (labels != -100).sum(1)
    if not targets.all():
        raise ValueError(f"wanted at least one target token in every row, given none in {int((targets == 0).sum())}")
    return targets


def mean_nats(logits: Logits, labels: Labels, label_smoothing: float = 0.0) -> Float[Tensor, " batch"]:
    """Cross-entropy in fp32, averaged over each row's own target tokens. label_smoothing: the part of the target's
    probability that is spread evenly over the vocabulary."""
    targets, scores = count_targets(labels), logits.float().transpose(1, 2)
    nats = F.cross_entropy(scores, labels, reduction="none", label_smoothing=label_smoothing)  # 0 at -100
    return nats.sum(1) / targets
