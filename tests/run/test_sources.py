"""An adapter that mixes frozen prompts finds them in the folders that its config names, and keeps them."""

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch

from dept_vl import AdaptedModel
from dept_vl.adapters import DePT, PromptTuning, build_adapter
from dept_vl.backbones import load_backbone
from dept_vl.config import AdapterConfig, BadConfig, OptimConfig
from dept_vl.data.tokenizer import load_tokenizer
from dept_vl.run import check
from dept_vl.run.components import start_adapter
from dept_vl.run.execute import run
from dept_vl.saved import BadAdapterFolder, MismatchedBackbone, ModelFacts, read_adapter, save_adapter
from tests.tiny_runs import json_lines, text_experiment, write_cola

SIZES = {"num_virtual_tokens": 3, "num_sources": 2, "r": 4}


@pytest.fixture(scope="module")
def language(byte_t5):
    return load_backbone(str(byte_t5)), load_tokenizer(str(byte_t5))


@pytest.fixture
def save(tmp_path, language):
    def save(name: str, adapter, **identity) -> str:
        folder = tmp_path / name
        facts = {**language[0].identity(), **identity}
        save_adapter(folder, {"adapter": adapter}, backbone_identity=facts, card=ModelFacts(name))
        return str(folder)

    return save


@pytest.fixture
def prompts() -> torch.Tensor:
    return torch.randn(2, 3, 16, generator=torch.Generator().manual_seed(4))


@pytest.fixture
def sources(save, prompts) -> list[str]:
    return [save(f"source{i}", PromptTuning(each, num_virtual_tokens=3)) for i, each in enumerate(prompts)]


def attempt(sources: list[str], **sizes: int) -> AdapterConfig:
    return AdapterConfig("attempt", SIZES | sizes, {"sources": sources})


def start(config: AdapterConfig, language):
    return start_adapter(config, *language, torch.Generator().manual_seed(0))


def test_the_prompts_of_the_folders_are_the_frozen_ones(language, sources, prompts):
    adapter = start(attempt(sources), language)
    assert torch.equal(adapter.source_prompts, prompts) and torch.equal(adapter.prompt_embeddings, prompts[0])
    assert adapter.sources == tuple(hashlib.sha256(each.numpy().tobytes()).hexdigest() for each in prompts)


def test_a_source_may_be_of_any_method_that_folds_to_a_prompt(language, save, sources):
    mpt = build_adapter("mpt", torch.randn(3, 16), {"num_virtual_tokens": 3})
    with torch.no_grad():
        mpt.task_u.fill_(2)
    adapter = start(attempt([sources[0], save("mpt", mpt)]), language)
    assert torch.equal(adapter.source_prompts[1], mpt.fold().prompt)


@pytest.mark.usefixtures("afresh")
def test_a_run_saves_them_and_loads_without_their_folders(byte_t5, sources, prompts, tmp_path):
    data, rates = write_cola(tmp_path / "glue"), {"prompt": 0.05, "attention": 0.05}
    adapter = dataclasses.asdict(attempt(sources))
    config = text_experiment(byte_t5, data, tmp_path / "run", adapter=adapter, optim=OptimConfig(lr=rates))
    results, folder = run(config), Path(config.output_dir)
    assert [each["folder"] for each in results["started_from"]["sources"]] == sources
    for each in sources:
        shutil.rmtree(each)
    saved = read_adapter(folder)
    assert torch.equal(saved.adapter.source_prompts, prompts)
    assert not torch.equal(saved.adapter.prompt_embeddings, prompts[0])
    described = json.loads((folder / "adapter_config.json").read_text())["parts"]["adapter"]
    assert described["state"] == {"sources": [each["sha256"] for each in results["started_from"]["sources"]]}
    wanted = {
        row["text"].removeprefix("sentence: "): row["prediction"] for row in json_lines(folder / "predictions.jsonl")
    }
    given = AdaptedModel.from_pretrained(folder, backbone=byte_t5).classify(list(wanted))
    assert [{"unacceptable": "0", "acceptable": "1"}[each] for each in given] == list(wanted.values())


def test_wrong_numbers_of_folders_are_refused_before_anything_loads(byte_t5, sources, tmp_path):
    def config(adapter: AdapterConfig):
        rates = OptimConfig(lr={"prompt": 0.1, "attention": 0.1})
        return dataclasses.replace(text_experiment(byte_t5, tmp_path, tmp_path / "run", optim=rates), adapter=adapter)

    check(config(attempt(sources)))
    for given in ([], sources[:1], [*sources, sources[0]]):
        with pytest.raises(BadConfig, match=f"sources: wanted 2 folders .* for attempt, given {len(given)}$"):
            check(config(attempt(given)))
    with pytest.raises(BadConfig, match=r"adapter.start.sources: wanted 0 folders of trained prompts for pt, given 2"):
        check(config(AdapterConfig("pt", {"num_virtual_tokens": 3}, {"sources": sources})))
    with pytest.raises(BadAdapterFolder, match="nowhere: wanted a folder"):
        check(config(attempt([sources[0], str(tmp_path / "nowhere")])))


def test_a_source_is_a_prompt_of_that_length_for_that_model(language, save, sources):
    rows = torch.zeros(4, 16)
    for name, adapter, given in (
        ("short", PromptTuning(rows, num_virtual_tokens=2), "2 tokens"),
        ("long", PromptTuning(rows, num_virtual_tokens=4), "4 tokens"),
        ("shifted", DePT(rows, num_virtual_tokens=3, r=2, max_length=4), "3 tokens and a shift"),
        ("reader", build_adapter("smop", rows, {"num_virtual_tokens": 1, "num_prompts": 2}), "an adapter that reads"),
    ):
        with pytest.raises(BadConfig, match=f"sources: wanted prompts of 3 tokens .*, given {given}.* in .*{name}"):
            start(attempt([sources[0], save(name, adapter)]), language)
    foreign = save("foreign", PromptTuning(rows, num_virtual_tokens=3), backbone_sha256="0" * 64)
    with pytest.raises(MismatchedBackbone, match="made for another backbone"):
        start(attempt([sources[0], foreign]), language)
