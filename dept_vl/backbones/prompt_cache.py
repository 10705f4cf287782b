"""The keys and values of a causal model's prompt: computed once, kept from batch to batch."""

import inspect

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel


class MixedPrompts(ValueError):
    """Prompt columns that differ between rows, although `prompt_length` claims one prompt."""


def cache_name(model: PreTrainedModel) -> str:
    """What this version of transformers calls a cache, as an argument of `forward` and `generate` and in the output:
    "cache", or "past_key_values" before 5.21."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def compute_type(embeds: Tensor) -> torch.dtype:
    """In which a model reads these embeddings: autocast's type, or their own."""
    device = embeds.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else embeds.dtype


class PromptCache:
    """Kept while the prompt's values, and the type it is computed in, stay the same.

    `computed` counts how often a prompt went through the model. What `expanded` gives is a copy: generation grows
    it, the kept keys and values are never written.
    """

    def __init__(self) -> None:
        self.computed = 0
        self.drop()

    def drop(self) -> None:
        self._prompt: Tensor | None = None
        self._precision: torch.dtype | None = None
        self._layers: list[tuple[Tensor, Tensor]] = []

    def expanded(
        self, model: PreTrainedModel, prompts: Float[Tensor, "batch prompt d_model"], *, repeats: int = 1
    ) -> DynamicCache:
        """A cache of batch * repeats rows that holds the prompt. Call it without gradient and in evaluation mode.

        Raises: MixedPrompts where the rows differ.
        """
        precision = compute_type(prompts)
        if not self._holds(prompts) or self._precision != precision:
            prompt = prompts[:1].detach().clone()  # [1, prompt, d_model]
            if not torch.equal(prompt.expand_as(prompts), prompts):
                raise MixedPrompts(
                    f"prompt_length={prompts.shape[1]}: wanted one and the same prompt in the first columns of all "
                    f"{len(prompts)} rows, given several; prompt_length=0 lets rows differ"
                )
            self.drop()
            ones = torch.ones(prompt.shape[:2], dtype=torch.int64, device=prompt.device)
            read = model(inputs_embeds=prompt, attention_mask=ones, use_cache=True, logits_to_keep=1)
            self._layers = [(layer.keys, layer.values) for layer in read[cache_name(model)].layers]
            self._prompt, self._precision = prompt, precision
            self.computed += 1
        rows = len(prompts) * repeats
        return DynamicCache([tuple(each.expand(rows, -1, -1, -1) for each in layer) for layer in self._layers])

    def _holds(self, prompts: Float[Tensor, "batch prompt d_model"]) -> bool:
        kept = self._prompt
        if kept is None or (kept.dtype, kept.device) != (prompts.dtype, prompts.device):
            return False
        return kept.shape[1:] == prompts.shape[1:] and torch.equal(kept.expand_as(prompts), prompts)
