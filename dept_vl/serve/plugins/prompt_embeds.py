"""What a decoder-only model reads of a request, as one tensor: the prompt embeddings that vLLM and SGLang take.

Adapter, image and text are in it, so the engine needs the frozen model alone, and answers as `AdaptedModel` does.
"""

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dept_vl.saved import UnexportableAdapter
from dept_vl.serve.adapted import AdaptedModel
from dept_vl.serve.rows import plan_rows, plan_texts
from dept_vl.untrusted.whole_files import write_whole


def prompt_embeds(
    model: AdaptedModel,
    asked: Sequence[Any] | None,
    images: Sequence[Any] | None = None,
    adapter_names: Sequence[Any] | None = None,
) -> Iterator[Float[Tensor, "out d_model"]]:
    """The embeddings of each request, its prompt, visual tokens and text in their order, in the model's dtype.

    asked: rows as `AdaptedModel.generate` takes them; with `images` questions as `answer` takes them, or None for
    captions. The others as there.

    Raises: UnexportableAdapter for an encoder-decoder, and for an adapter that trained inside the model; and what
    `AdaptedModel.generate` raises.
    """
    if model.backbone.kind != "causal":
        raise UnexportableAdapter(
            f"{model.backbone.name}: wanted a decoder-only model, given an encoder-decoder, which vLLM and SGLang do "
            "not serve: the formats onnx and torch-export take it"
        )
    if images is None:
        rows = plan_texts([] if asked is None else asked, adapter_names, model.adapters, classify=False)
    else:
        rows = plan_rows("caption" if asked is None else "vqa", images, asked, adapter_names, model.adapters)
    for name in dict.fromkeys(row.adapter for row in rows):
        saved = model.adapters.loaded.get(name)
        if saved is not None and saved.inside is not None:
            raise UnexportableAdapter(
                f"{name}: wanted an adapter at the model's input alone, given one with {type(saved.inside).__name__} "
                "inside the model, which embeddings cannot carry: the engines load LoRA from its peft/ folder"
            )
    return (_embeds_of(model, row) for row in rows)


@torch.no_grad()
def _embeds_of(model: AdaptedModel, row: Any) -> Float[Tensor, "out d_model"]:
    embeds, mask = model.network.embed(model.batch_of([row]))
    return embeds[0, mask[0] != 0]


def write_prompt_embeds(path: Path, embeds: Float[Tensor, "out d_model"]) -> None:
    """A torch file of the one tensor: its bytes in base64 are the `prompt_embeds` of a request to vLLM, and the
    tensor's `tolist()` the `input_embeds` of one to SGLang. Raises: OSError."""
    file = BytesIO()
    torch.save(embeds.cpu().clone(), file)  # a view would be written with the whole batch behind it
    write_whole(path, file.getvalue())
