"""A run on a packed model: what it saves is an adapter of the model in floats."""

import importlib.util

import pytest

from dept_vl import AdaptedModel
from dept_vl.backbones import load_backbone
from dept_vl.run.execute import run
from dept_vl.run.saved import score_adapter
from tests.tiny_runs import json_lines, text_experiment, write_byte_t5, write_cola


@pytest.mark.usefixtures("afresh")
@pytest.mark.parametrize("form", ["int8", "nf4"])
def test_an_adapter_trained_on_packed_weights_loads_on_the_model_in_floats(tmp_path, form):
    if form == "nf4" and importlib.util.find_spec("bitsandbytes") is None:
        pytest.skip("bitsandbytes is not installed")
    model, data, folder = write_byte_t5(tmp_path / "t5"), write_cola(tmp_path / "glue"), tmp_path / "run"
    run(text_experiment(model, data, folder, backbone={"load_in": form}))
    rows = json_lines(folder / "predictions.jsonl")
    texts, names = [row["text"].removeprefix("sentence: ") for row in rows], {"unacceptable": "0", "acceptable": "1"}
    packed = AdaptedModel.from_pretrained(folder, backbone=model, load_in=form)
    assert [names[each] for each in packed.classify(texts)] == [row["prediction"] for row in rows]
    whole = AdaptedModel.from_pretrained(folder, backbone=model)
    assert len(whole.classify(texts)) == len(rows)
    scored = score_adapter(str(folder), "cola", str(data), "val", backbone=str(model), load_in=form)["backbone"]
    assert scored["backbone_sha256"] == load_backbone(str(model)).identity()["backbone_sha256"]
