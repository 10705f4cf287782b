"""A prompt's rate that a config leaves to the frozen model follows the size of its word embeddings."""

import dataclasses

import pytest
import yaml

from dept_vl.backbones import load_backbone
from dept_vl.config import BadConfig, OptimConfig
from dept_vl.run.execute import run
from dept_vl.run.prompt_rate import embedding_rms, with_prompt_rate
from tests.tiny_runs import RATES, forget_accelerate, json_lines, text_experiment, write_cola


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_cola(tmp_path_factory.mktemp("data"))


@pytest.mark.usefixtures("afresh")
def test_a_run_trains_at_the_rate_and_writes_its_number(byte_t5, data, tmp_path):
    config = text_experiment(byte_t5, data, tmp_path / "run", optim=OptimConfig(lr={**RATES, "prompt": None}))
    lines = []
    run(config, report=lines.append)
    table = load_backbone(str(byte_t5)).embedding_table
    wanted = float(f"{0.3 * float(table.pow(2).mean()) ** 0.5:.3g}")
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["optim"]["lr"]
    assert written == {**RATES, "prompt": wanted}
    log = json_lines(tmp_path / "run" / "metrics.jsonl")
    assert 0 < max(line["lr"]["prompt"] for line in log if "lr" in line) <= wanted
    assert f"prompt rate {wanted:g}, 0.3 times the embedding table's root mean square" in lines

    forget_accelerate()
    again = text_experiment(byte_t5, data, tmp_path / "given", optim=OptimConfig(lr=written))
    run(again)
    weights = [(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("run", "given")]
    assert weights[0] == weights[1]


def test_a_table_ten_times_as_large_gets_ten_times_the_rate(byte_t5, data, tmp_path):
    config = text_experiment(byte_t5, data, tmp_path / "run", optim=OptimConfig(lr={"prompt": None}))
    backbone = load_backbone(str(byte_t5))
    rate = with_prompt_rate(config, backbone).optim.lr["prompt"]
    assert rate == pytest.approx(0.3 * embedding_rms(backbone), rel=0.01)
    backbone.embedding_table.data.mul_(10)
    assert with_prompt_rate(config, backbone).optim.lr["prompt"] == pytest.approx(10 * rate, rel=0.01)


@pytest.mark.parametrize("rates", [RATES, {"low_rank": 0.1}, {"prompt": 0.0}])
def test_a_config_that_says_its_rates_keeps_them(byte_t5, data, tmp_path, rates):
    config = text_experiment(byte_t5, data, tmp_path / "run", optim=OptimConfig(lr=rates))
    assert with_prompt_rate(config, load_backbone(str(byte_t5))) is config


def test_only_the_prompts_rate_may_be_null(byte_t5, data, tmp_path):
    with pytest.raises(BadConfig, match="optim.lr.low_rank: wanted a number, given null, which only prompt may be"):
        text_experiment(byte_t5, data, tmp_path / "run", optim=OptimConfig(lr={"prompt": None, "low_rank": None}))


def test_the_default_leaves_it_to_the_model():
    assert dataclasses.asdict(OptimConfig())["lr"]["prompt"] is None
