"""Export a folded adapter and its frozen encoder-decoder as two graphs, by ONNX or torch.export.

    encoder   input_ids, attention_mask [batch, seq], and features [batch, patch, width] where images are read
              -> states [batch, out, d_model], mask [batch, out]
    decoder   decoder_input_ids [batch, target], states, mask  ->  logits [batch, target, vocabulary]

The graphs hold the frozen weights, so they are as large as the model. A tokenizer, and for images the tower, stay
outside; export.json says how to ask and when an answer ends.
"""

import json
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dept_vl.adapters import Adapter, Folded, Pair, Text
from dept_vl.backbones import Backbone
from dept_vl.model import Batch, Network
from dept_vl.saved.adapter_folder import LIBRARY, SavedAdapter
from dept_vl.saved.foreign import UnexportableAdapter
from dept_vl.saved.identity import check_identity
from dept_vl.untrusted.bad_file import reason_of
from dept_vl.untrusted.whole_files import write_whole

Format = Literal["onnx", "torch-export"]
SUFFIXES = {"onnx": ".onnx", "torch-export": ".pt2"}
FACTS = "export.json"
_ROWS, _SEQ, _TARGET = 2, 7, 3  # of the example that is traced; the graphs take any


class _Constant(Adapter):
    """A folded adapter as one that `Network` reads."""

    def __init__(self, folded: Folded) -> None:
        super().__init__()
        self.num_virtual_tokens, self.token_dim = folded.num_virtual_tokens, folded.token_dim
        self.register_buffer("prompt", folded.prompt)
        self.register_buffer("shift", folded.shift)

    def pair(self, text: Text | None) -> Pair:
        return Pair(self.prompt, self.shift)

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {}


class _Encoder(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, features: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        embeds, mask = self.network.embed(Batch(input_ids, attention_mask, features=features))
        encoder = self.network.backbone.model.get_encoder()
        return encoder(inputs_embeds=embeds, attention_mask=mask).last_hidden_state, mask


class _Decoder(nn.Module):
    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.model = backbone.model

    def forward(self, decoder_input_ids: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        given = {"encoder_outputs": (states,), "attention_mask": mask, "decoder_input_ids": decoder_input_ids}
        return self.model(**given, use_cache=False).logits


def export_graphs(saved: SavedAdapter, backbone: Backbone, out: Path | str, form: Format) -> list[Path]:
    """Write encoder, decoder and export.json to the folder `out`; the paths of all files that are there then.

    Raises:
        UnexportableAdapter: a decoder-only model, an adapter that reads the text, one that trained inside the model, a
            model that torch cannot trace, or ONNX without its packages.
        MismatchedBackbone: it was made for another model.
        OSError: the disk is full.
    """
    network = _network(saved, backbone)
    if form == "onnx" and (missing := [name for name in ("onnx", "onnxscript") if find_spec(name) is None]):
        raise UnexportableAdapter(f"onnx: wanted {' and '.join(missing)} installed: pip install 'dept_vl[export]'")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / FACTS).unlink(missing_ok=True)  # it comes last, so that a folder with it is whole
    ids = torch.ones(_ROWS, _SEQ, dtype=torch.int64)
    # Tensors of their own: torch.export takes one given twice for one input, and a view for a part of what it views.
    given: dict[str, Tensor] = {"input_ids": ids, "attention_mask": ids.clone()}
    if saved.projection is not None:
        given["features"] = torch.ones(_ROWS, saved.projection.num_patches, saved.projection.in_dim)
    encoder = _Encoder(network).eval()
    with torch.no_grad():
        states, mask = encoder(**given)
    behind = {"decoder_input_ids": ids[:, :_TARGET].clone(), "states": states, "mask": mask}
    columns = {
        "input_ids": "seq",
        "attention_mask": "seq",
        "decoder_input_ids": "target",
        "states": "out",
        "mask": "out",
    }
    for name, module, inputs, outputs in (
        ("encoder", encoder, given, ("states", "mask")),
        ("decoder", _Decoder(backbone).eval(), behind, ("logits",)),
    ):
        free = {each: {0: "batch"} | ({1: columns[each]} if each in columns else {}) for each in inputs}
        _trace(out / f"{name}{SUFFIXES[form]}", module, inputs, outputs, free, form)
    text = json.dumps(_facts(saved, backbone, form), indent=2, sort_keys=True) + "\n"
    write_whole(out / FACTS, text.encode("utf-8"))
    return sorted(out.iterdir())


def _network(saved: SavedAdapter, backbone: Backbone) -> Network:
    """With the folded adapter, and the projection if there is one. Raises: UnexportableAdapter, MismatchedBackbone."""
    if backbone.kind != "seq2seq":
        raise UnexportableAdapter(
            f"{backbone.name}: wanted an encoder-decoder, given a decoder-only model: the format prompt-embeds gives "
            "engines what it reads"
        )
    if saved.inside is not None:
        raise UnexportableAdapter(
            f"wanted an adapter at the model's input alone, given one with {type(saved.inside).__name__} inside it"
        )
    folded = saved.adapter.fold()
    if folded is None:
        method = type(saved.adapter).__name__
        raise UnexportableAdapter(f"{method} reads the text, so it does not fold: wanted a constant prompt and shift")
    config = {**saved.config, "vision": None}  # the tower stays outside
    check_identity(config, backbone.identity(), d_model=backbone.d_model)
    parts = {"adapter": _Constant(folded)}
    if saved.projection is not None:
        parts["projection"] = saved.projection
    return Network(backbone, parts, covers=saved.config["covers"], order=saved.config["token_order"]).eval()


def _trace(
    path: Path,
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: tuple[str, ...],
    free: Mapping[str, Mapping[int, str]],
    form: Format,
) -> None:
    """`free`: of each input the axes that may have any length. Raises: UnexportableAdapter, OSError."""
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "# The axis name", UserWarning)  # one name for an axis of several inputs
            if form == "torch-export":
                axes = {name: {axis: torch.export.Dim.DYNAMIC for axis in each} for name, each in free.items()}
                program = torch.export.export(module, (), dict(inputs), dynamic_shapes=axes)
                torch.export.save(program, path)
            else:
                torch.onnx.export(
                    module, (), path, kwargs=dict(inputs), input_names=list(inputs), output_names=list(outputs),
                    dynamic_shapes={name: dict(each) for name, each in free.items()}, dynamo=True, verbose=False,
                )  # fmt: skip
    except OSError:
        raise
    except Exception as error:  # torch raises what it likes on what it cannot trace
        reason = f"{type(error).__name__}: {reason_of(error)}"
        raise UnexportableAdapter(f"{path.stem}: torch could not trace it ({reason})") from error


def _facts(saved: SavedAdapter, backbone: Backbone, form: Format) -> dict[str, Any]:
    """How to ask the graphs, for JSON."""
    config, ends = saved.config, backbone.token_facts()["eos_token_id"]
    return {
        "format": form,
        "base_model_name_or_path": config["base_model_name_or_path"],
        "revision": config["revision"],
        "decoder_start_token_id": backbone.model.generation_config.decoder_start_token_id,
        "eos_token_id": ends,
        "features": None if saved.projection is None else [saved.projection.num_patches, saved.projection.in_dim],
        "task": config["task"],
        "vision": config["vision"],
        "dept_vl_version": version(LIBRARY),
    }
