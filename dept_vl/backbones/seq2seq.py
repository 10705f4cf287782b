"""A frozen encoder-decoder: T5 and its kin, BART and Pegasus, by name or folder."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DynamicCache, EncoderDecoderCache, GenerationConfig, PreTrainedModel

from dept_vl.backbones import quirks
from dept_vl.backbones.flops import T5Shape
from dept_vl.backbones.frozen import Backbone, Embeds, Labels, Logits, Mask, NextLogits, Prefixes, States, recorded
from dept_vl.backbones.image_cache import SharedImages
from dept_vl.backbones.prompt_cache import cache_name

T5_TYPES = ("t5", "mt5", "umt5")  # built alike


class SharedText(EncoderDecoderCache):
    """The cache of a beam search. All beams of a row read the same text, so when beams change places its keys and
    values, by far the greater part, stay where they are."""

    def reorder_cache(self, beam_idx: Tensor) -> None:
        self.self_attention_cache.reorder_cache(beam_idx)


class Seq2SeqBackbone(Backbone):
    """An encoder-decoder behind `Backbone`: the encoder reads embeddings, the decoder its labels.

    T5's relative bias and BART's learned positions count columns, so pads stand behind everything (`Network` puts them
    there).
    """

    kind, task_type = "seq2seq", "SEQ_2_SEQ_LM"

    def __init__(self, model: PreTrainedModel, *, name: str, revision: str | None = None) -> None:
        super().__init__(model, name=name, revision=revision)
        ids = model.generation_config
        self.model.generation_config = GenerationConfig(  # a checkpoint's own penalties would change what greedy means
            decoder_start_token_id=quirks.start(model),
            eos_token_id=quirks.ends(model),
            pad_token_id=ids.pad_token_id,
        )
        self.max_positions = getattr(model.config, "max_position_embeddings", None)  # of BART and its kin; T5 has none
        self.d_model = model.get_input_embeddings().embedding_dim

    def logits(self, embeds: Embeds, mask: Mask, labels: Labels) -> Logits:
        given = self.model.prepare_decoder_input_ids_from_labels(labels)  # `labels=` would compute a loss of its own
        return self.model(inputs_embeds=embeds, attention_mask=mask, decoder_input_ids=given, use_cache=False).logits

    def states(self, embeds: Embeds, mask: Mask, labels: Labels) -> States:
        with recorded(self.model.get_encoder()) as encoder, recorded(self.model.get_decoder()) as decoder:
            logits = self.logits(embeds, mask, labels)
        return States(logits, ((encoder[0], mask), (decoder[0], labels != -100)))

    @torch.no_grad()
    def generate(
        self,
        embeds: Embeds,
        mask: Mask,
        *,
        max_new_tokens: int,
        num_beams: int = 1,
        prompt_length: int = 0,
        images: SharedImages | None = None,
        **options: Any,
    ) -> Labels:
        """`prompt_length` and `images` are ignored: an encoder's prompt attends to the text, so it cannot be cached."""
        sizes = {"max_new_tokens": max_new_tokens, "num_beams": num_beams}
        if num_beams == 1 or self.attached is not None or options:  # these may count on the rows of a usual search
            return self._decode(inputs_embeds=embeds, attention_mask=mask, **sizes, **options)
        return self._decode(attention_mask=mask, **self._read_once(embeds, mask, num_beams), **sizes)

    def _read_once(self, embeds: Embeds, mask: Mask, num_beams: int) -> dict[str, Any]:
        """The encoder's states, and a cache with the keys and values that the decoder reads of them: computed for each
        row once, where a search would compute them for each beam."""
        encoded = self.model.get_encoder()(inputs_embeds=embeds, attention_mask=mask)
        start = torch.full((len(embeds), 1), self.model.generation_config.decoder_start_token_id, device=embeds.device)
        read = self.model(encoder_outputs=encoded, attention_mask=mask, decoder_input_ids=start, use_cache=True)
        name = cache_name(self.model)
        text = read[name].cross_attention_cache
        text.batch_repeat_interleave(num_beams)
        said = DynamicCache(config=self.model.config.get_text_config(decoder=True))
        return {"encoder_outputs": encoded, name: SharedText(said, text)}

    @torch.no_grad()
    def next_token_logits(
        self,
        embeds: Embeds,
        mask: Mask,
        prefixes: Prefixes,
        *,
        prompt_length: int = 0,
        images: SharedImages | None = None,
    ) -> NextLogits:
        encoded = self.model.get_encoder()(inputs_embeds=embeds, attention_mask=mask)
        start = self.model.generation_config.decoder_start_token_id
        given = F.pad(prefixes.to(embeds.device), (1, 0), value=start)  # [path, prefix + 1]
        logits = [  # path by path: all at once would repeat the encoder's states for each
            self.model(
                encoder_outputs=encoded,
                attention_mask=mask,
                decoder_input_ids=path.expand(len(embeds), -1),
                use_cache=False,
            ).logits
            for path in given
        ]
        return torch.stack(logits, dim=1)

    @property
    def shape(self) -> T5Shape | None:
        """Of what this backbone computes with: a partial view has fewer layers or neurons than its config says. None
        for an encoder-decoder that is not built as T5 is."""
        config, model = self.model.config, self.model
        if config.model_type not in T5_TYPES:
            return None
        return T5Shape(
            d_model=config.d_model,
            d_inner=config.num_heads * config.d_kv,
            vocabulary=model.lm_head.out_features,
            encoder_layers=len(model.encoder.block),
            decoder_layers=len(model.decoder.block),
            encoder_neurons=_neurons(model.encoder),
            decoder_neurons=_neurons(model.decoder),
            gated=config.is_gated_act,
        )

    def training_flops(self, batch: int, out: int, target: int) -> int | None:
        shape = self.shape
        return None if shape is None else shape.training_flops(batch, out, target)


def _neurons(stack: nn.Module) -> int:
    feed_forward = stack.block[0].layer[-1].DenseReluDense
    return getattr(feed_forward, "neurons", None) or feed_forward.wo.in_features
