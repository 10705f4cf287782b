"""An adapter around a model of transformers, as one module for the HF Trainer and anybody's loop.

    model = adapt(AutoModelForSeq2SeqLM.from_pretrained(name), DePT(rows, num_virtual_tokens=60, r=30, max_length=256))
    model(input_ids, attention_mask, labels=labels).loss.backward()

HF's names in front of `Network`, which does the work: one path into the frozen model here as everywhere. The loss is
that of our own loop, the mean over rows of each row's nats per target token, where HF's averages over all tokens.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput, ModelOutput, Seq2SeqLMOutput

from dept_vl.adapters import Adapter
from dept_vl.backbones import Backbone, freeze, load_backbone, mean_nats
from dept_vl.model import Batch, MismatchedParts, Network
from dept_vl.saved import ModelFacts, check_identity, read_any, save_adapter

Ids = Integer[Tensor, "batch seq"]
Labels = Integer[Tensor, "batch target"]
Answer = Integer[Tensor, "batch answer"]  # of a decoder-only model, apart from its text
NO_LABEL = -100
STATE = "state"  # among the weights: what the parts keep beside them, as the bytes of a JSON object
DEFAULT_MAX_LENGTH = 20  # transformers' own


class WrongLabels(ValueError):
    """Labels of a decoder-only model that are not the end of each row."""


class Incompatible(NamedTuple):
    """What `load_state_dict` returns everywhere; here there is none of either, or it raises."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def adapt(hf_model: PreTrainedModel, adapter: Adapter | Path | str, *, backbone_dropout: bool = False) -> "AdaptedLM":
    """`hf_model` with an adapter at its input, as a module whose adapter alone trains.

    Args:
        hf_model: an encoder-decoder or a decoder-only model with its head. It is frozen, and its generation config
            becomes a plain one; no module of it is changed.
        adapter: a new one, or a folder with a saved one.
        backbone_dropout: whether the frozen model's own dropout acts in training.

    Raises:
        UnsupportedType, UnsupportedPrecision: a model that cannot be read as this package reads models.
        MismatchedParts: an adapter of another width, or one that is not alone in its folder.
        BadAdapterFolder, MismatchedBackbone: of a folder.
    """
    if not isinstance(adapter, Adapter):
        return AdaptedLM.from_pretrained(adapter, hf_model, backbone_dropout=backbone_dropout)
    return AdaptedLM(freeze(hf_model), adapter, backbone_dropout=backbone_dropout)


class AdaptedLM(nn.Module):
    """What `adapt` gives. Its state dict holds the adapter alone, so that a checkpoint of the Trainer does, too.

    Encoder-decoder: `labels` are the answer's tokens. Decoder-only: `input_ids` hold text and answer one behind the
    other and `labels` are as long, -100 but at the answer, as HF has it; the adapter reads the text, and the answer
    comes from the plain embedding table, as it will when it is generated.
    """

    accepts_loss_kwargs = False  # for the Trainer: a mean, which it divides by the accumulation steps itself

    def __init__(
        self,
        backbone: Backbone,
        adapter: Adapter,
        *,
        backbone_dropout: bool = False,
        task: Mapping[str, Any] | None = None,
    ) -> None:
        """task: how to ask it, as `save_adapter` writes it. Raises: MismatchedParts."""
        super().__init__()
        adapter = adapter.to(backbone.model.device)
        self.network = Network(backbone, {"adapter": adapter}, backbone_dropout=backbone_dropout)
        self.task = task

    @classmethod
    def from_pretrained(
        cls, folder: Path | str, hf_model: PreTrainedModel | None = None, *, backbone_dropout: bool = False
    ) -> "AdaptedLM":
        """A saved adapter, to go on training or to use, around `hf_model` or the model that the folder names.

        Raises: BadAdapterFolder, MismatchedBackbone, MissingBackbone; MismatchedParts where other parts belong to it.
        """
        saved = read_any(folder)
        if set(saved.parts) != {"adapter"}:
            others = ", ".join(sorted(set(saved.parts) - {"adapter"}))
            raise MismatchedParts(
                f"{folder}: wanted an adapter alone, given one with {others}: AdaptedModel answers with all its parts, "
                "and adapter.start.from trains on"
            )
        config, name = saved.config, saved.config["base_model_name_or_path"]
        if hf_model is None:
            kind = "causal" if config["task_type"] == "CAUSAL_LM" else "seq2seq"
            backbone = load_backbone(str(name), kind=kind, revision=config["revision"])
        else:
            backbone = freeze(hf_model)
        check_identity(config, backbone.identity(), d_model=backbone.d_model)
        return cls(backbone, saved.adapter, backbone_dropout=backbone_dropout, task=config["task"])

    def save_pretrained(self, folder: Path | str, *, is_main_process: bool = True) -> None:
        """Write an adapter folder, of a few hundred KB, which `load_adapter`, `AdaptedModel` and `from_pretrained`
        read. is_main_process: false writes nothing. Raises: UnsavableAdapter, OSError."""
        if not is_main_process:
            return
        save_adapter(
            folder,
            dict(self.network.parts),
            backbone_identity=self.network.backbone.identity(),
            task_type=self.network.backbone.task_type,
            task=self.task,
            card=ModelFacts(Path(folder).name),
        )

    @property
    def config(self) -> Any:
        """The frozen model's."""
        return self.network.backbone.model.config

    @property
    def generation_config(self) -> GenerationConfig:
        """The frozen model's, from which `generate` takes lengths and beams that it is not given."""
        return self.network.backbone.model.generation_config

    @generation_config.setter
    def generation_config(self, given: GenerationConfig) -> None:
        self.network.backbone.model.generation_config = given

    @property
    def device(self) -> torch.device:
        return self.network.backbone.model.device

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        """The trained weights by group ("prompt", "low_rank"), each with a learning rate of its own."""
        return self.network.param_groups()

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: Mapping[str, Any] | None = None) -> None:
        """From now on activations are computed again in the backward pass; the arguments are transformers'."""
        self.network.backbone.checkpoint_activations()
        self.network.train(self.training)

    def forward(
        self,
        input_ids: Ids,
        attention_mask: Ids | None = None,
        labels: Labels | None = None,
        task_ids: Integer[Tensor, " batch"] | None = None,
    ) -> ModelOutput:
        """The loss, and the logits at the labels: [batch, target, vocabulary] of an encoder-decoder; of a decoder-only
        model [batch, seq, vocabulary], where column i gives token i + 1, and 0 where that has no label. Without labels
        the logits of the next token alone, [batch, 1, vocabulary], without gradient.

        Args:
            attention_mask: 1 at real tokens, on whatever side the pads are; None: all are.
            labels: -100 where there is none.
            task_ids: the place of each row's task, for an adapter of several.

        Raises: WrongLabels; ValueError for a row without a label.
        """
        backbone, seq, places = self.network.backbone, input_ids.shape[1], None
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        output = Seq2SeqLMOutput if backbone.kind == "seq2seq" else CausalLMOutput
        if labels is not None and backbone.kind == "causal":
            input_ids, mask, labels, places = _text_and_answer(input_ids, mask, labels)
        batch = Batch(input_ids, mask, labels, tasks=task_ids)
        if self.training:
            self.network.observe(self.network.covered_length(batch))
        embeds, mask = self.network.embed(batch)
        if labels is None:
            nothing = torch.zeros(1, 0, dtype=torch.int64)
            return output(logits=backbone.next_token_logits(embeds, mask, nothing)[:, 0])
        logits = backbone.logits(embeds, mask, labels)
        loss = mean_nats(logits, labels).mean()
        return output(loss=loss, logits=logits if places is None else _at_their_places(logits, labels, places, seq))

    @torch.no_grad()
    def generate(
        self,
        input_ids: Ids,
        attention_mask: Ids | None = None,
        *,
        max_new_tokens: int | None = None,
        max_length: int | None = None,
        num_beams: int | None = None,
        task_ids: Integer[Tensor, " batch"] | None = None,
        labels: Labels | None = None,
        synced_gpus: bool | None = None,
        **options: Any,
    ) -> Answer:
        """Token ids of the answers alone, as transformers gives them from embeddings.

        max_length counts the start token of an encoder-decoder and the text of a decoder-only model. `labels` and
        `synced_gpus`, which the Trainer hands over, are not read. `options`: the others of transformers' `generate`.

        Raises: ValueError for lengths that leave no token to generate.
        """
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        sizes = {
            "max_new_tokens": self._new_tokens(input_ids.shape[1], max_new_tokens, max_length),
            "num_beams": num_beams or self.generation_config.num_beams or 1,
        }
        training = self.training
        self.eval()
        try:
            return self.network.generate(Batch(input_ids, mask, tasks=task_ids), **sizes, **options)
        finally:
            self.train(training)

    def _new_tokens(self, seq: int, new: int | None, length: int | None) -> int:
        if new is None and length is None:
            new, length = self.generation_config.max_new_tokens, self.generation_config.max_length
        before = 1 if self.network.backbone.kind == "seq2seq" else seq
        new = (length or DEFAULT_MAX_LENGTH) - before if new is None else new
        if new < 1:
            raise ValueError(
                f"max_length: wanted more than the {before} tokens that stand in front of an answer, given "
                f"{length or DEFAULT_MAX_LENGTH}; give max_new_tokens"
            )
        return new

    def state_dict(self, *, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> dict[str, Tensor]:
        """The adapter's weights, and what it keeps beside them (how far training reached) as bytes."""
        found = {} if destination is None else destination
        weights = self.network.parts.state_dict(keep_vars=keep_vars)
        found.update({f"{prefix}{name}": value for name, value in weights.items()})
        text = json.dumps(self.network.state(), sort_keys=True).encode("utf-8")
        found[f"{prefix}{STATE}"] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        return found

    def load_state_dict(
        self, state_dict: Mapping[str, Tensor], strict: bool = True, assign: bool = False
    ) -> Incompatible:
        """Weights that do not fit are refused, strict or not. Raises: MismatchedParts, ValueError."""
        weights = {name: value for name, value in state_dict.items() if name != STATE}
        self.network.load_trained_state(weights)
        if STATE in state_dict:
            self.network.load_state(json.loads(bytes(state_dict[STATE].tolist())))
        return Incompatible([], [])


def _text_and_answer(
    ids: Ids, mask: Ids, labels: Labels
) -> tuple[Integer[Tensor, "batch text"], Integer[Tensor, "batch text"], Answer, Answer]:
    """The text and its mask; the answer, -100 behind it; and the columns where the answer's tokens stood.

    Raises: WrongLabels.
    """
    if labels.shape != ids.shape:
        raise WrongLabels(
            f"labels: wanted {list(ids.shape)}, one for each of input_ids (-100 but at the answer), as a decoder-only "
            f"model has them, given {list(labels.shape)}"
        )
    real = mask != 0
    answer = real & (labels != NO_LABEL)
    behind = (answer.cumsum(1) > 0) & real & ~answer
    if behind.any() or (labels != ids)[answer].any():
        row = int((behind | (answer & (labels != ids))).any(1).nonzero()[0])
        raise WrongLabels(
            f"row {row}: wanted labels that repeat the last tokens of the row, its answer, given others: of several "
            "turns make a row each"
        )
    text, kept = _packed(ids, real & ~answer)
    given, labelled = _packed(labels, answer)
    places, _ = _packed(torch.arange(ids.shape[1], device=ids.device).expand_as(ids), answer)
    return text, kept.to(mask.dtype), torch.where(labelled, given, NO_LABEL), places


def _packed(
    values: Ids, keep: Bool[Tensor, "batch seq"]
) -> tuple[Integer[Tensor, "batch kept"], Bool[Tensor, "batch kept"]]:
    """Of each row the values that are kept, in their order, as many columns as the fullest row has, one at least."""
    width = max(int(keep.sum(1).max()), 1)
    order = (~keep).to(torch.uint8).argsort(dim=1, stable=True)[:, :width]
    return values.gather(1, order), keep.gather(1, order)


def _at_their_places(
    logits: Float[Tensor, "batch target vocabulary"], labels: Labels, places: Labels, seq: int
) -> Float[Tensor, "batch seq vocabulary"]:
    """Each target's logits in the column before its token's. Of a row that begins with its answer the first one's,
    which the prompt gives, have no column."""
    columns = torch.where(labels == NO_LABEL, 0, places).unsqueeze(2).expand_as(logits)  # [batch, target, vocabulary]
    wide = logits.new_zeros(len(logits), seq + 1, logits.shape[2])
    return wide.scatter(1, columns, logits)[:, 1:]
