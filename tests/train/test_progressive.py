"""FPT: stages by share of the steps, one order of the neurons, evaluation on the full model, resumes across stages."""

import dataclasses
import json

import pytest
import torch
from transformers.modeling_layers import GradientCheckpointingLayer

from dept_vl import AdaptedModel
from dept_vl.backbones import Submodel, load_backbone, partial, whole
from dept_vl.config import BadConfig, ProgressiveConfig
from dept_vl.model import Batch, Network
from dept_vl.run.execute import run
from dept_vl.run.results import summary
from dept_vl.run.saved import score_adapter
from dept_vl.train.progressive import Progressive, as_they_stand, at_random, by_activation, plan_stages
from tests.tiny_runs import build_network, text_experiment, tiny_experiment, trained_bytes, write_byte_t5, write_cola

LARGE = Submodel(tuple(range(24)), tuple(range(24)), 2816, 2816)
PRESET = {"shares": (0.2, 0.2, 0.2, 0.4), "fractions": (0.25, 0.5, 0.75, 1.0)}
pytestmark = pytest.mark.usefixtures("afresh")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_cola(tmp_path_factory.mktemp("glue"))


@pytest.fixture(scope="module", params=[False, True], ids=["relu", "gated"])
def deep_t5(request, tmp_path_factory):
    return write_byte_t5(tmp_path_factory.mktemp("deep_t5"), layers=4, gated=request.param)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(3)
    ids, labels = (torch.randint(3, 200, (4, length), generator=generator) for length in (6, 3))
    return Batch(ids, torch.ones_like(ids), labels)


def stages_of(full, kind, steps=10, parts="encoder_decoder", **changes):
    return plan_stages(full, kind=kind, parts=parts, max_steps=steps, **PRESET | changes)


def test_the_stages_of_the_published_runs():
    stages = stages_of(LARGE, "compound", 30_000)
    assert [stage.from_step for stage in stages] == [1, 6001, 12_001, 18_001]
    assert [len(stage.part.encoder_layers) for stage in stages] == [6, 12, 18, 24]
    assert [stage.part.decoder_neurons for stage in stages] == [704, 1408, 2112, 2816]
    assert stages[0].part.encoder_layers == (0, 4, 8, 13, 18, 23) and stages[-1].part == LARGE


def test_each_kind_reduces_what_it_names_and_only_the_named_stacks():
    depth, width = stages_of(LARGE, "depth")[0].part, stages_of(LARGE, "width")[0].part
    assert (len(depth.encoder_layers), depth.encoder_neurons) == (6, 2816)
    assert (width.decoder_layers, width.decoder_neurons) == (LARGE.decoder_layers, 704)
    alone = stages_of(LARGE, "compound", parts="encoder")[0].part
    assert (len(alone.encoder_layers), alone.encoder_neurons) == (6, 704)
    assert (alone.decoder_layers, alone.decoder_neurons) == (LARGE.decoder_layers, 2816)


def test_the_first_and_the_last_layer_stay_and_a_stage_without_steps_is_left_out():
    small = Submodel((0, 1, 2, 3), (0, 1, 2, 3), 8, 8)
    assert [stage.part.encoder_layers for stage in stages_of(small, "depth")] == [
        (0, 3),
        (0, 3),
        (0, 1, 3),
        (0, 1, 2, 3),
    ]
    assert [stage.from_step for stage in stages_of(small, "depth", steps=2)] == [1, 2]


def test_steps_go_through_their_stage_and_evaluation_through_everything(deep_t5, batch):
    network = build_network(deep_t5, "pt", projection=False)
    full = whole(network.backbone)
    with Progressive(network, stages_of(full, "compound"), lambda: at_random(full, 0)) as stages:
        losses = []
        for step in (1, 2, 3, 5, 7):
            stages.enter(step)
            losses.append(network.train()(batch).detach())
            partial_flops, all_flops = network.training_flops(batch)
            assert (partial_flops == all_flops) == (step == 7)
            assert torch.allclose(network.eval()(batch), plain(network, batch), atol=1e-5)
        assert torch.equal(losses[0], losses[1])  # one stage
        assert all(not torch.equal(one, other) for one, other in zip(losses[1:], losses[2:], strict=False))
        assert torch.allclose(losses[-1], plain(network, batch), atol=1e-5)


def test_partial_views_recompute_activations_where_the_whole_does(deep_t5, batch):
    networks = [build_network(deep_t5, "dept", projection=False) for _ in range(2)]
    networks[1].backbone.checkpoint_activations()
    found = []
    for network in networks:
        full = whole(network.backbone)
        with Progressive(network, stages_of(full, "compound"), lambda full=full: at_random(full, 0)) as stages:
            network.train()
            stages.enter(3)
            weights = list(network.adapter.parameters())
            found.append(torch.autograd.grad(network(batch).mean(), weights))
            layers = [m for m in network._reading.modules() if isinstance(m, GradientCheckpointingLayer)]
            assert layers and all(layer.training == (network is networks[1]) for layer in layers)
    for wanted, given in zip(*found, strict=True):
        torch.testing.assert_close(given, wanted, rtol=1e-5, atol=1e-6)


def plain(network: Network, batch: Batch) -> torch.Tensor:
    return network.backbone.loss(*network.embed(batch), batch.labels)


def test_afterwards_every_weight_is_where_it_was(deep_t5, batch):
    network = build_network(deep_t5, "pt", projection=False)
    before = {name: weight.clone() for name, weight in network.backbone.named_parameters()}
    with Progressive(
        network, stages_of(whole(network.backbone), "width"), lambda: by_activation(network, [batch])
    ) as stages:
        stages.enter(1)
        assert stages.scoring_flops == network.backbone.shape.forward_flops(4, 9, 3)
    assert all(torch.equal(before[name], weight) for name, weight in network.backbone.named_parameters())
    assert network.train()._reading is network.backbone


def test_the_neurons_that_fire_most_come_first(deep_t5, batch):
    network = build_network(deep_t5, "pt", projection=False)
    layer = network.backbone.model.encoder.block[1].layer[-1].DenseReluDense
    with torch.no_grad():
        for matrix in (layer.wi,) if hasattr(layer, "wi") else (layer.wi_0, layer.wi_1):
            matrix.weight[7] *= 50  # of 32
            matrix.weight[9] = 0
    orders, _ = by_activation(network.train(), [batch])
    assert network.training and len(orders) == 8
    assert orders[1][0] == 7 and orders[1].tolist().index(9) > 24 and sorted(orders[1].tolist()) == list(range(32))
    assert [order.tolist() for order in as_they_stand(whole(network.backbone))[0]] == [list(range(32))] * 8


def test_a_state_brings_the_order_back_without_asking_again(deep_t5, batch):
    first, second = (build_network(deep_t5, "pt", projection=False) for _ in range(2))
    full = whole(first.backbone)
    one = Progressive(first, stages_of(full, "width"), lambda: at_random(full, 4))
    one.enter(1)
    other = Progressive(second, stages_of(full, "width"), lambda: pytest.fail("asked again"))
    other.load_state(one.state())
    other.enter(1)
    assert torch.equal(first.train()(batch), second.train()(batch))


def progressive(model, data, output, *, steps=10, **changes):
    config = text_experiment(model, data, output, max_steps=steps, eval_steps=5)
    return dataclasses.replace(config, save_steps=1, save_total_limit=20, **changes)


@pytest.mark.parametrize("kind", ["depth", "width", "compound"])
def test_a_run_tells_its_stages_and_what_they_saved(deep_t5, data, tmp_path, kind):
    fpt = ProgressiveConfig(kind=kind, score_rows=8)
    results = run(progressive(deep_t5, data, tmp_path / kind, progressive=fpt))
    info = results["train_info"]
    assert f"4 stages: {100 * info['flops'] / info['flops_full']:.1f} % of the whole" in summary(results)
    assert [stage["from_step"] for stage in info["stages"]] == [1, 3, 5, 7]
    assert 0.4 < info["flops"] / info["flops_full"] < 0.95
    assert (info["scoring_flops"] > 0) == (kind != "depth")
    log = [json.loads(line) for line in (tmp_path / kind / "metrics.jsonl").read_text().splitlines()]
    assert len([line for line in log if "loss" in line]) == 10


def test_a_run_that_was_cut_between_stages_ends_like_one_that_was_not(deep_t5, data, tmp_path):
    fpt = ProgressiveConfig(kind="compound", score_rows=8)
    whole_run = run(progressive(deep_t5, data, tmp_path / "whole", progressive=fpt))
    for step in (1, 4, 6):  # inside a stage, at its last step, at the last partial one
        again = progressive(
            deep_t5, data, tmp_path / f"from_{step}", progressive=fpt,
            resume_from_checkpoint=str(tmp_path / "whole" / "checkpoints" / f"step_{step}"),
        )  # fmt: skip
        resumed = run(again)
        weights = [(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("whole", f"from_{step}")]
        assert weights[0] == weights[1]
        names = ("flops", "flops_full", "scoring_flops", "stages")
        assert [resumed["train_info"][name] for name in names] == [whole_run["train_info"][name] for name in names]
    with pytest.raises(ValueError, match="wanted a checkpoint of a run with .*stages"):
        run(dataclasses.replace(again, progressive=ProgressiveConfig(kind="depth"), output_dir=str(tmp_path / "other")))


@pytest.mark.parametrize(
    "changes",
    [
        {"gradient_accumulation_steps": 2},
        {"bf16": True},
        {"backbone": {"dropout": True}},
        {"backbone": {"dropout": True, "gradient_checkpointing": True}},
    ],
    ids=["accumulation", "bf16", "dropout", "recomputed"],
)
def test_what_else_a_run_does_resumes_across_stages_too(deep_t5, data, tmp_path, changes):
    fpt = ProgressiveConfig(kind="compound", score_rows=8)
    changes, backbone = dict(changes), changes.get("backbone", {})
    changes.pop("backbone", None)
    config = text_experiment(deep_t5, data, tmp_path / "whole", max_steps=10, eval_steps=5, backbone=backbone)
    config = dataclasses.replace(config, save_steps=1, save_total_limit=20, progressive=fpt, **changes)
    run(config)
    checkpoint = str(tmp_path / "whole" / "checkpoints" / "step_4")
    run(dataclasses.replace(config, output_dir=str(tmp_path / "again"), resume_from_checkpoint=checkpoint))
    names = ("whole", "again")
    assert len({(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in names}) == 1


def test_stages_of_the_full_model_change_nothing(deep_t5, data, tmp_path):
    fpt = ProgressiveConfig(kind="compound", shares=(0.5, 0.5), fractions=(1.0, 1.0))
    run(progressive(deep_t5, data, tmp_path / "stages", progressive=fpt))
    run(progressive(deep_t5, data, tmp_path / "plain"))
    names = ("stages", "plain")
    assert len({(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in names}) == 1


@pytest.mark.parametrize("adapter", ["pt", "dpt", "dept", "residual_pt"])
def test_every_adapter_trains_through_stages(deep_t5, batch, adapter):
    network = build_network(deep_t5, adapter, projection=False)
    before, full = trained_bytes(network), whole(network.backbone)
    with Progressive(network, stages_of(full, "compound"), lambda: as_they_stand(full)) as stages:
        stages.enter(1)
        network.train()(batch).sum().backward()
    groups = network.param_groups()
    assert all(weight.grad is not None for group in groups.values() for weight in group)
    assert trained_bytes(network) == before and load_backbone(str(deep_t5)).identity() == network.backbone.identity()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shares": (0.5, 0.4)}, r"progressive.shares: wanted shares that add up to 1, given \(0.5, 0.4\)"),
        ({"shares": (1.5, -0.5)}, "progressive.shares: wanted shares above 0"),
        ({"shares": (1.0,)}, "progressive.fractions: wanted as many as shares, 1, given"),
        ({"fractions": (0.5, 0.25, 0.75, 1.0)}, "progressive.fractions: wanted numbers that never fall"),
        ({"fractions": (0.0, 0.25, 0.75, 1.0)}, "progressive.fractions: wanted numbers above 0 and at most 1"),
        ({"score_rows": 0}, "score_rows: wanted at least 1, given 0"),
    ],
)
def test_impossible_stages_are_refused(changes, message, data, tmp_path):
    with pytest.raises(BadConfig, match=message):
        progressive("t5", data, tmp_path, progressive=ProgressiveConfig(kind="depth", **changes))


def test_a_decoder_only_model_is_refused(data, tmp_path):
    causal = {"kind": "causal", "pad_token": "</s>"}
    with pytest.raises(BadConfig, match="progressive.kind: wanted none for a causal backbone, given 'width'"):
        text_experiment("gpt2", data, tmp_path, backbone=causal, progressive=ProgressiveConfig(kind="width"))


def test_a_vision_language_run_goes_through_stages_too(deep_t5, place, tmp_path):
    vision = {"feature_dir": str(place / "features")}
    config = tiny_experiment(
        deep_t5, place / "clip", place / "shapes", tmp_path / "vqa", vision=vision, max_steps=5, eval_steps=5
    )
    results = run(dataclasses.replace(config, progressive=ProgressiveConfig(kind="compound", score_rows=8)))
    assert len(results["train_info"]["stages"]) == 4 and 0 <= results["metrics"]["test"]["vqa_accuracy"] <= 1
    assert results["train_info"]["flops"] < results["train_info"]["flops_full"]


def test_the_shift_may_cover_visual_tokens_as_an_ablation(byte_t5, place, tmp_path):
    vision = {"feature_dir": str(place / "features")}
    config = tiny_experiment(byte_t5, place / "clip", place / "shapes", tmp_path / "vqa", vision=vision)
    adapter = dataclasses.replace(config.adapter, args={**config.adapter.args, "max_length": 40})
    config = dataclasses.replace(config, adapter=dataclasses.replace(adapter, covers="text_and_visual"))
    results = run(config)
    run(dataclasses.replace(config, adapter=adapter, output_dir=str(tmp_path / "text")))
    with_visual, text = (json.loads((tmp_path / name / "adapter_config.json").read_text()) for name in ("vqa", "text"))
    reached = [each["parts"]["adapter"]["state"]["trained_length"] for each in (with_visual, text)]
    assert reached[0] == reached[1] + text["parts"]["projection"]["num_patches"]
    model = AdaptedModel.from_pretrained(tmp_path / "vqa", backbone=byte_t5, vision=place / "clip")
    with pytest.raises(ValueError, match="other: wanted an adapter whose shift covers text_and_visual.*covers text"):
        model.load_adapter(tmp_path / "text", adapter_name="other")
    scored = score_adapter(
        str(tmp_path / "vqa"), "vqa", root=str(place / "shapes"), backbone=str(byte_t5), batch_size=8
    )
    assert scored["vqa_accuracy"] == results["metrics"]["test"]["vqa_accuracy"]


def test_a_partial_model_answers_only_where_it_is_asked_to(deep_t5, batch):
    """Then as the smaller model does that holds the same layers alone: the choice among labels, and free text."""
    network = build_network(deep_t5, "pt", projection=False)
    full = whole(network.backbone)
    part = dataclasses.replace(full, encoder_layers=(0, 3), decoder_layers=(0, 3))
    whole_network = network.eval().generate(batch, max_new_tokens=5)
    for answers in (False, True):
        network.read_through(partial(network.backbone, part), answers=answers)
        given = network.eval().generate(batch, max_new_tokens=5)
        logits = network(batch)
        if not answers:
            assert torch.equal(given, whole_network)
    small = build_network(deep_t5, "pt", projection=False)
    for stack in (small.backbone.model.encoder, small.backbone.model.decoder):
        stack.block = torch.nn.ModuleList([stack.block[0], stack.block[3]])
        for place, block in enumerate(stack.block):
            block.layer[0].SelfAttention.layer_idx = place
            if block.is_decoder:
                block.layer[1].EncDecAttention.layer_idx = place
    small.load_trained_state(network.trained_state())
    assert torch.equal(given, small.eval().generate(batch, max_new_tokens=5))
    assert torch.equal(logits, small(batch)) and not torch.equal(given, whole_network)


def test_scores_of_the_neurons_may_be_measured_anew_at_every_narrow_stage(deep_t5):
    network = build_network(deep_t5, "pt", projection=False)
    full, drawn = whole(network.backbone), iter(range(10))
    before = {name: each.clone() for name, each in network.backbone.model.named_parameters()}
    steps = []

    def order():
        steps.append(step)
        return at_random(full, next(drawn))[0], 7

    with Progressive(network, stages_of(full, "width"), order, repeated=True) as stages:
        for step in range(1, 11):
            stages.enter(step)
        assert steps == [1, 3, 5] and stages.scoring_flops == 21, "the last stage has every neuron"
        state = stages.state()
        last = {name: each.clone() for name, each in network.backbone.model.named_parameters()}
    assert all(torch.equal(each, before[name]) for name, each in network.backbone.model.named_parameters())
    with Progressive(network, stages_of(full, "width"), order, repeated=True) as resumed:
        resumed.load_state(state)
        resumed.enter(6)
        assert steps == [1, 3, 5], "a resumed stage keeps the order of its checkpoint"
        assert all(torch.equal(each, last[name]) for name, each in network.backbone.model.named_parameters())


def test_a_run_scores_the_part_it_was_trained_on(deep_t5, data, tmp_path):
    """The same training, the same adapter, other test answers: the partial model's."""
    half, results = {"kind": "depth", "shares": (1.0,), "fractions": (0.5,)}, {}
    for evaluate in ("full", "part"):
        progressive = ProgressiveConfig(**half, evaluate=evaluate)
        task = {"decoding": "generate"}
        config = text_experiment(deep_t5, data, tmp_path / evaluate, progressive=progressive, eval_steps=0, task=task)
        results[evaluate] = run(config)
    full, part = (tmp_path / each for each in results)
    weights = "adapter_model.safetensors"
    assert (full / weights).read_bytes() == (part / weights).read_bytes()
    assert (full / "predictions.jsonl").read_text() != (part / "predictions.jsonl").read_text()
    with pytest.raises(BadConfig, match="progressive.evaluate: wanted full where progressive.kind is none"):
        text_experiment(deep_t5, data, tmp_path / "none", progressive=ProgressiveConfig(evaluate="part"))
