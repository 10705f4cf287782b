"""What makes a run faster changes none of its numbers: fifty steps by the fast path and by the plain one."""

import dataclasses
import json

import pytest
import torch

from dept_vl.backbones import Backbone, columns
from dept_vl.data.batches import EncodedExamples
from dept_vl.run.execute import run
from tests.tiny_runs import forget_accelerate, text_experiment, write_cola

pytestmark = pytest.mark.usefixtures("afresh")
STEPS = 50


def losses(config) -> list[float]:
    forget_accelerate()
    run(config)
    with open(f"{config.output_dir}/metrics.jsonl") as file:
        lines = [json.loads(line) for line in file]
    return [line["loss"] for line in lines if "loss" in line]


@pytest.fixture(scope="module")
def usual():
    """The losses of the runs with no change, by kind."""
    return {}


@pytest.fixture
def curve(byte_t5, place, tmp_path, experiment, usual):
    """The losses of fifty steps on text, or on VQA whose features lie in a store; without changes, those of one run for
    all tests."""

    def curve(kind, name, **changes):
        backbone = changes.pop("backbone", {})
        if kind == "vqa":
            config = experiment(name, **changes)
        else:
            data = tmp_path / "data"
            if not data.exists():
                write_cola(data)
            config = text_experiment(byte_t5, data, tmp_path / name)
        config = dataclasses.replace(config, backbone=dataclasses.replace(config.backbone, **backbone))
        return losses(dataclasses.replace(config, max_steps=STEPS, eval_steps=0, logging_steps=1))

    def known(kind, name="usual", **changes):
        if changes or name != "usual":
            return curve(kind, name, **changes)
        if kind not in usual:
            usual[kind] = curve(kind, name)
        return usual[kind]

    return known


@pytest.mark.parametrize("kind", ["text", "vqa"])
def test_pads_moved_by_whole_rows_or_not_at_all_as_by_gather(curve, kind, monkeypatch):
    fast = curve(kind)

    def gathered(embeds, mask, keys):
        order = keys.argsort(dim=1, stable=True)
        return embeds.gather(1, order.unsqueeze(-1).expand_as(embeds)), mask.gather(1, order)

    collate = EncodedExamples.collate
    monkeypatch.setattr(columns, "_in_order", gathered)
    monkeypatch.setattr(
        EncodedExamples, "collate", lambda *given: dataclasses.replace(collate(*given), right_padded=False)
    )
    plain = curve(kind, "plain")
    assert len(plain) == STEPS and len(set(plain)) > STEPS // 2
    assert fast == plain


@pytest.mark.parametrize("kind", ["text", "vqa"])
def test_activations_recomputed_as_kept(curve, kind, monkeypatch):
    kept = curve(kind)
    asked = []
    enable = Backbone.checkpoint_activations
    monkeypatch.setattr(Backbone, "checkpoint_activations", lambda own: (asked.append(1), enable(own)))
    recomputed = curve(kind, "recomputed", backbone={"gradient_checkpointing": True})
    assert asked and recomputed == pytest.approx(kept, rel=1e-5)


def test_features_in_memory_as_from_the_store(curve):
    resident, mapped = (curve("vqa", f"resident_{each}", vision={"resident": each}) for each in (True, False))
    assert resident == mapped


def test_attention_in_one_kernel_as_step_by_step(curve):
    eager, sdpa = (curve("text", each, backbone={"attn_implementation": each}) for each in ("eager", "sdpa"))
    torch.testing.assert_close(torch.tensor(sdpa), torch.tensor(eager), rtol=1e-4, atol=1e-5)
