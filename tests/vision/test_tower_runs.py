"""From a config with a tower of another library to a saved adapter that answers as the run did."""

import dataclasses

import pytest

from dept_vl import AdaptedModel
from dept_vl.run import check
from dept_vl.run.execute import run
from dept_vl.run.saved import score_adapter
from dept_vl.saved import read_adapter
from tests.tiny_runs import forget_accelerate, json_lines
from tests.vision.tiny_towers import write_timm_weights, write_tower

pytestmark = pytest.mark.usefixtures("afresh")


def with_vision(config, projection, **vision):
    given = dataclasses.replace(config.vision.projection, **projection)
    return dataclasses.replace(config, vision=dataclasses.replace(config.vision, projection=given, **vision))


def of_transformers_beside_open_clip(folder, config):
    second = {"kind": "transformers", "model_name": str(write_tower("siglip", folder / "siglip")), "layer": -2}
    mlp = {"name": "mlp", "args": {"hidden": 8}}
    return with_vision(config, mlp, layer=2, second=second)


def of_two_layers_of_timm(folder, config):
    weights = write_timm_weights("test_efficientnet", folder / "weights.pth")
    vision = {"kind": "timm", "model_name": "test_efficientnet", "weights": str(weights), "layer": [-1, -2]}
    resampler = {"name": "resampler", "args": {"num_queries": 3, "width": 8, "num_heads": 2}}
    return with_vision(config, resampler, **vision, pooling="avg", pool_size=4, joined="tokens")


@pytest.mark.parametrize(
    "change", [of_transformers_beside_open_clip, pytest.param(of_two_layers_of_timm, marks=pytest.mark.slow)]
)
def test_a_saved_adapter_answers_as_its_run_did(change, experiment, byte_t5, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # scoring keeps its features in data/features
    config = change(tmp_path, experiment(max_steps=3, eval_steps=0))
    results = run(config)
    saved = read_adapter(tmp_path / "run")
    assert saved.config["parts"]["projection"]["name"] == config.vision.projection.name
    assert saved.projection.config().items() >= config.vision.projection.args.items()
    model = AdaptedModel.from_pretrained(tmp_path / "run", backbone=byte_t5)
    rows = json_lines(tmp_path / "run" / "predictions.jsonl")
    with pytest.warns(UserWarning, match="max_source_length=24"):
        answers = model.answer([place / "shapes" / "images" / row["image"] for row in rows], [r["text"] for r in rows])
    assert answers == [row["prediction"] for row in rows]
    forget_accelerate()
    scored = score_adapter(
        str(tmp_path / "run"), "vqa", root=str(place / "shapes"), backbone=str(byte_t5), batch_size=8
    )
    assert scored["vqa_accuracy"] == results["metrics"]["test"]["vqa_accuracy"]


@pytest.mark.parametrize(
    ("projection", "vision", "message"),
    [
        ({}, {"kind": "timm", "pretrained": "openai"}, "vision.pretrained: wanted null for a tower of timm"),
        ({}, {"second": {"layer": 2}}, "vision.model_name: wanted a name, given None"),
        ({"name": "mpl"}, {}, "unknown projection 'mpl': .* Did you mean 'mlp'"),
        ({"args": {"hidden": 3}}, {}, "projection 'linear': an argument: wanted one of .*given 'hidden'"),
    ],
)
def test_what_cannot_be_built_is_refused_before_anything_is_loaded(projection, vision, message, experiment):
    with pytest.raises(ValueError, match=message):
        check(with_vision(experiment(), projection, **vision))


def test_another_projection_of_the_source_stays_behind(experiment, byte_t5, tmp_path):
    run(experiment("source", max_steps=1, eval_steps=0))
    forget_accelerate()
    start = {"start": {"from": str(tmp_path / "source")}}
    for projection, note in (("linear", []), ("mlp", ["the visual projection starts anew: the source's is linear"])):
        config = with_vision(experiment(projection, max_steps=1, eval_steps=0), {"name": projection})
        config = dataclasses.replace(config, adapter=dataclasses.replace(config.adapter, **start))
        results = run(config)
        forget_accelerate()
        assert [each for each in results["started_from"]["not_copied"] if "projection" in each] == note
