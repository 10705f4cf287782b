"""docs/plugins.md: its examples run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dept_vl.adapters import DePT
from dept_vl.backbones import load_backbone
from dept_vl.saved import ModelFacts, save_adapter
from dept_vl.serve.plugins.prompt_embeds import prompt_embeds, write_prompt_embeds

BLOCKS = re.findall(
    r"```python\n(.*?)```", (Path(__file__).resolve().parents[3] / "docs" / "plugins.md").read_text(), re.S
)


@pytest.mark.usefixtures("afresh")
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_the_example_of_the_trainer_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(BLOCKS[0], "docs/plugins.md", "exec"), {"__name__": "example"})
    assert (tmp_path / "adapter" / "adapter_config.json").is_file()
    assert (tmp_path / "trained" / "checkpoint-10" / "model.safetensors").stat().st_size < 20_000
    assert capsys.readouterr().out.rstrip().endswith("]")


def test_the_example_of_a_request_runs(causal_folders, load_text, tmp_path, monkeypatch, capsys):
    model = load_text(causal_folders["gpt2"], kind="causal")
    [embeds] = prompt_embeds(model, [{"sentence": "a red circle"}])
    write_prompt_embeds(tmp_path / "requests" / "000000.pt", embeds)
    monkeypatch.chdir(tmp_path)
    exec(BLOCKS[1], {})
    assert all(int(number) > 100 for number in capsys.readouterr().out.split())


@pytest.mark.slow  # torch traces for some ten seconds
def test_the_example_of_onnxruntime_runs(tmp_path, monkeypatch, capsys):
    for library in ("onnxruntime", "onnxscript"):
        pytest.importorskip(library, reason="the extra export is not installed")
    backbone = load_backbone("tiny-t5")
    adapter = DePT(backbone.embedding_table[100:104], num_virtual_tokens=4, r=2, max_length=40)
    with torch.no_grad():
        adapter.lora_embedding_B.normal_()
    task = {
        "name": "shapes-rte", "template": "rte hypothesis: {hypothesis} premise: {premise}", "protocol": "shapes",
        "max_source_length": 64, "max_target_length": 10, "num_beams": 1, "pad_token": None,
        "labels": {"0": "entailment", "1": "not_entailment"},
    }  # fmt: skip
    save_adapter(
        tmp_path / "adapter", {"adapter": adapter}, backbone_identity=backbone.identity(), task=task,
        card=ModelFacts("example"),
    )  # fmt: skip
    words = ["export", "--adapter", "adapter", "--format", "onnx", "--output", "exported"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    command = [sys.executable, "-m", "dept_vl", *words]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    names = ["decoder.onnx", "encoder.onnx", "export.json", "tokenizer"]
    listed = [line.split(" (")[0] for line in done.stdout.splitlines()]
    assert {f"exported/{name}" for name in names} <= set(listed)
    monkeypatch.chdir(tmp_path)
    exec(BLOCKS[2], {})
    assert capsys.readouterr().out.strip() in ("entailment", "not_entailment", "None")
