"""A frozen decoder-only model: GPT-2, LLaMA and many others, by name or folder.

    [prompt; visual; pads; text]  ->  answer        (visual tokens only where images are read)

Pads stand between what rows share and their own text, or in front where nothing is known to be shared, so that every
row's last column is real and the next token follows it. A token's position is its place among the row's real tokens,
in training as in generation, so the result depends neither on the padding nor on its side: with GPT-2's learned
positions as with LLaMA's rotary ones. A sliding window counts columns all the same: a row longer than it is read with
its pads in front, and its prompt anew. Tokens of the answer come from the plain table: no prompt, no shift.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor, nn
from transformers import DynamicCache, GenerationConfig, PreTrainedModel

from dept_vl.backbones import quirks
from dept_vl.backbones.columns import pads_behind_prompt
from dept_vl.backbones.frozen import Backbone, Embeds, Labels, Logits, Mask, NextLogits, Prefixes, States, recorded
from dept_vl.backbones.image_cache import ImageCache, SharedImages
from dept_vl.backbones.prompt_cache import MixedPrompts, PromptCache, cache_name


class TooManyPositions(ValueError):
    """A row with more tokens than the model has positions."""


class NothingToContinue(ValueError):
    """A row without any real token: nothing to continue."""


class CausalBackbone(Backbone):
    """In evaluation mode `prompt_cache` keeps the keys and values of the prompt that `prompt_length` marks, and
    `image_cache` those of the `images` behind it."""

    kind, task_type = "causal", "CAUSAL_LM"

    def __init__(self, model: PreTrainedModel, *, name: str, revision: str | None = None) -> None:
        super().__init__(model, name=name, revision=revision)
        eos, pad = quirks.ends(model), model.generation_config.pad_token_id
        if pad is None:  # GPT-2 and LLaMA have none; behind an answer's end it only fills the row
            pad = eos[0] if isinstance(eos, list) else eos
        # a checkpoint's own sampling and penalties would change what greedy means
        self.model.generation_config = GenerationConfig(eos_token_id=eos, pad_token_id=pad)
        self.d_model = model.get_input_embeddings().embedding_dim
        self.max_positions, self._window = quirks.most_positions(model.config), quirks.window(model.config)
        self.prompt_cache, self.image_cache = PromptCache(), ImageCache()
        self._cache_name = cache_name(model)

    def changed(self) -> None:
        self.prompt_cache.drop()
        self.image_cache.drop()

    def train(self, mode: bool = True) -> "CausalBackbone":
        self.changed()
        return super().train(mode)

    def _apply(self, fn: Any, recurse: bool = True) -> nn.Module:
        self.changed()  # `to`, `half`, `cuda`: the weights are other ones now
        return super()._apply(fn, recurse)

    def logits(self, embeds: Embeds, mask: Mask, labels: Labels) -> Logits:
        """The logits at each target position, given the text and the true tokens before it.

        The first target follows the row's last text token. Only target positions pass the vocabulary projection.
        """
        self._check(mask, labels.shape[1])
        embeds, mask = pads_behind_prompt(embeds, mask)
        given = labels[:, :-1]  # [batch, target - 1]; right behind every row's text, pads behind them
        embeds = torch.cat([embeds, self.embed(given.clamp(min=0)).to(embeds.dtype)], dim=1)
        mask = F.pad(mask, (0, given.shape[1]), value=1)  # nothing reads the pads behind a target
        return self._read(embeds, mask, keep=labels.shape[1], use_cache=False).logits

    def states(self, embeds: Embeds, mask: Mask, labels: Labels) -> States:
        with recorded(self.model.base_model) as found:
            logits = self.logits(embeds, mask, labels)
        _, mask = pads_behind_prompt(embeds, mask)
        asked = labels[:, 1:] != -100  # a target's last token is not read
        return States(logits, ((found[0], torch.cat([mask != 0, asked], dim=1)),))

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
        self._check(mask, max_new_tokens)
        embeds, mask, past = self._begin(embeds, mask, max_new_tokens, prompt_length, images, repeats=num_beams)
        sizes = {"max_new_tokens": max_new_tokens, "num_beams": num_beams}
        given = {"inputs_embeds": embeds, "attention_mask": mask, self._cache_name: past}
        return self._decode(**given, **sizes, **options)

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
        paths, length = prefixes.shape
        self._check(mask, length + 1)
        embeds, mask, past = self._begin(embeds, mask, length + 1, prompt_length, images)
        known = 0 if past is None else past.get_seq_length()
        if past is None and length:  # one that keeps all columns, beyond a window too, so that tokens can be taken back
            past = DynamicCache()
        read = self._read(embeds[:, known:], mask, keep=1, use_cache=length > 0, past=past)
        first = read.logits.unsqueeze(1).expand(-1, paths, -1, -1)  # [batch, path, 1, vocabulary]
        if not length:
            return first
        text, mask = read[self._cache_name], F.pad(mask, (0, length), value=1)
        later = []
        for path in prefixes.to(embeds.device):  # path by path: all at once would repeat the text's keys and values
            follows = self.embed(path.expand(len(embeds), -1)).to(embeds.dtype)
            later.append(self._read(follows, mask, keep=length, use_cache=True, past=text).logits)
            text.crop(-length)
        return torch.cat([first, torch.stack(later, dim=1)], dim=2)

    def _read(
        self,
        embeds: Float[Tensor, "batch new d_model"],
        mask: Integer[Tensor, "batch all"],
        *,
        keep: int,
        use_cache: bool,
        past: DynamicCache | None = None,
    ) -> Any:
        """The model over its newest columns; `mask` counts those in `past` too, so positions go on from there."""
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -embeds.shape[1] :]
        return self.model(
            inputs_embeds=embeds,
            attention_mask=mask,
            position_ids=positions,
            **{self._cache_name: past},
            use_cache=use_cache,
            logits_to_keep=keep,
        )

    def _begin(
        self,
        embeds: Embeds,
        mask: Mask,
        new: int,
        prompt_length: int,
        images: SharedImages | None,
        *,
        repeats: int = 1,
    ) -> tuple[Embeds, Mask, DynamicCache | None]:
        """The rows with their pads behind what they share, and a cache that holds that, if one may stand for it.

        None may in training mode, where dropout acts, where a row has nothing of its own, so that its last real token
        is one that is shared, and where a window ends before the `new` tokens do, since pads behind what is shared
        would push it out of sight.

        Raises: MixedPrompts.
        """
        shared = prompt_length + (0 if images is None else images.length)
        if not mask[:, :shared].all():
            raise MixedPrompts(f"prompt_length={shared}: wanted a prompt without pads, given masked columns in it")
        # where processes hold parts of the model, all of them have to read equally often, whatever their rows' lengths
        beyond = self._window is not None and (self.synced or mask.shape[1] + new - 1 > self._window)
        if not shared or self.model.training or beyond or (mask.sum(1) <= shared).any():
            return *pads_behind_prompt(embeds, mask), None
        embeds, mask = pads_behind_prompt(embeds, mask, shared)
        if images is None:
            return embeds, mask, self.prompt_cache.expanded(self.model, embeds[:, :shared], repeats=repeats)
        keep = not self.synced  # else the processes would not read equally often
        past = self.image_cache.expanded(
            self.model, embeds[:, :shared], images, self.prompt_cache, repeats=repeats, keep=keep
        )
        return embeds, mask, past

    def _check(self, mask: Mask, new: int) -> None:
        """The last new token is never read, so it takes no position. Raises: NothingToContinue, TooManyPositions."""
        if not mask.any(1).all():
            raise NothingToContinue("wanted at least one real token in every row, given a row of pads alone")
        if mask.shape[1] + new - 1 <= self.max_positions:
            return
        longest = int(mask.sum(1).max())
        if longest + new - 1 > self.max_positions:
            raise TooManyPositions(
                f"{self.name}: wanted at most {self.max_positions} positions a row, given {longest} of prompt and text "
                f"and {new} of answer (its last one takes none); lower max_source_length, max_target_length or "
                "num_virtual_tokens"
            )
