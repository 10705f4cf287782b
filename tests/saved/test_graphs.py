"""Exported graphs: what they compute is what the network computes, for batches of other sizes than the traced one.

Each export runs in a process of its own: beartype, which checks every signature here, cannot be traced.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dept_vl.adapters import build_adapter
from dept_vl.backbones import load_backbone
from dept_vl.model import Batch, Network
from dept_vl.saved import ModelFacts, UnexportableAdapter, graphs, read_any, save_adapter
from dept_vl.saved.graphs import export_graphs
from dept_vl.vision import VisualProjection
from tests.saved.conftest import ARGUMENTS, VISION
from tests.tiny_models import write_tiny_gpt2

ROOT = Path(__file__).resolve().parents[2]
EXPORT = """
import sys
from dept_vl.backbones import load_backbone
from dept_vl.saved import read_any
from dept_vl.saved.graphs import export_graphs
from dept_vl.vision import VisualProjection
adapter, backbone, out, form = sys.argv[1:]
export_graphs(read_any(adapter), load_backbone(backbone), out, form)
"""
SIZES = [([5], 2), ([3, 9, 1], 4)]  # tokens of each row, and of the answers so far
D_MODEL, PATCHES, WIDTH = 32, 4, 6


def saved_beside(folder, model, method, *, visual=False, kind="seq2seq"):
    backbone = load_backbone(str(model), kind=kind)
    generator = torch.Generator().manual_seed(0)
    adapter = build_adapter(method, torch.randn(9, D_MODEL, generator=generator), ARGUMENTS[method], generator)
    with torch.no_grad():
        for weight in adapter.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator))
    parts = {"adapter": adapter}
    if visual:
        parts["projection"] = VisualProjection(WIDTH, D_MODEL, PATCHES, generator)
    save_adapter(
        folder, parts, backbone_identity=backbone.identity(), vision_identity=VISION if visual else None,
        task_type=backbone.task_type, card=ModelFacts("export"),
    )  # fmt: skip
    return folder, backbone


def run_graph(path, given):
    if path.suffix == ".pt2":
        with torch.no_grad():
            out = torch.export.load(path).module()(**{name: torch.from_numpy(each) for name, each in given.items()})
        return [each.numpy() for each in (out if isinstance(out, tuple | list) else (out,))]
    runtime = pytest.importorskip("onnxruntime", reason="the extra export is not installed")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, given)


@pytest.mark.slow  # torch traces for some ten seconds
@pytest.mark.parametrize("visual", [False, True], ids=["text", "images"])
@pytest.mark.parametrize("form", ["torch-export", "onnx"])
def test_the_graphs_compute_what_the_network_does(form, visual, tiny_t5, tmp_path):
    if form == "onnx":
        pytest.importorskip("onnxscript", reason="the extra export is not installed")
    folder, backbone = saved_beside(tmp_path / "adapter", tiny_t5, "dept", visual=visual)
    command = [sys.executable, "-c", EXPORT, str(folder), str(tiny_t5), str(tmp_path / "out"), form]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    suffix = {"onnx": ".onnx", "torch-export": ".pt2"}[form]
    facts = json.loads((tmp_path / "out" / "export.json").read_text())
    assert facts["decoder_start_token_id"] == 0 and facts["eos_token_id"] == 1
    assert facts["features"] == ([PATCHES, WIDTH] if visual else None)
    network = Network(backbone, read_any(folder).parts).eval()
    draw = np.random.default_rng(3)
    for lengths, target in SIZES:
        ids = np.zeros((len(lengths), max(lengths)), dtype=np.int64)
        for row, length in enumerate(lengths):
            ids[row, :length] = draw.integers(3, 40, length)
        given = {"input_ids": ids, "attention_mask": (ids != 0).astype(np.int64)}
        features = draw.standard_normal((len(lengths), PATCHES, WIDTH)).astype(np.float32) if visual else None
        given |= {"features": features} if visual else {}
        states, mask = run_graph(tmp_path / "out" / f"encoder{suffix}", given)
        begun = np.concatenate([np.zeros((len(lengths), 1)), draw.integers(3, 40, (len(lengths), target - 1))], axis=1)
        begun = begun.astype(np.int64)
        [logits] = run_graph(
            tmp_path / "out" / f"decoder{suffix}", {"decoder_input_ids": begun, "states": states, "mask": mask}
        )  # fmt: skip
        tensors = {name: torch.from_numpy(each) for name, each in given.items()}
        with torch.no_grad():
            embeds, wanted_mask = network.embed(
                Batch(tensors["input_ids"], tensors["attention_mask"], features=tensors.get("features"))
            )
            wanted = backbone.model(
                inputs_embeds=embeds, attention_mask=wanted_mask, decoder_input_ids=torch.from_numpy(begun)
            ).logits
        assert mask.tolist() == wanted_mask.tolist()
        np.testing.assert_allclose(logits, wanted.numpy(), rtol=1e-3, atol=1e-4)


def test_what_cannot_be_exported_is_told(tiny_t5, tmp_path, monkeypatch):
    folder, backbone = saved_beside(tmp_path / "smop", tiny_t5, "smop")
    with pytest.raises(UnexportableAdapter, match="SMoP reads the text, so it does not fold"):
        export_graphs(read_any(folder), backbone, tmp_path / "out", "onnx")
    gpt2 = write_tiny_gpt2(tmp_path / "gpt2")
    folder, backbone = saved_beside(tmp_path / "pt", gpt2, "pt", kind="causal")
    with pytest.raises(UnexportableAdapter, match="wanted an encoder-decoder, given a decoder-only model"):
        export_graphs(read_any(folder), backbone, tmp_path / "out", "torch-export")
    folder, backbone = saved_beside(tmp_path / "dept", tiny_t5, "dept")
    monkeypatch.setattr(graphs, "find_spec", lambda name: None)
    with pytest.raises(UnexportableAdapter, match=r"wanted onnx and onnxscript installed: pip install"):
        export_graphs(read_any(folder), backbone, tmp_path / "out", "onnx")
    assert not (tmp_path / "out").exists()
