"""Counted weights against the published sizes, and what is recorded of a machine."""

import subprocess

import pytest
import torch
from torch import nn
from transformers import T5Config, T5ForConditionalGeneration

from dept_vl.adapters import DePT, PromptTuning
from dept_vl.backbones import Seq2SeqBackbone
from dept_vl.model import Network
from dept_vl.run import measure
from dept_vl.run.measure import count_weights
from dept_vl.vision import VisualProjection

TIED = 222_903_552  # T5-base with 32,128 rows in its one table
PROJECTION = 2048 * 768 + 768 + 768 + 36 * 768


def t5_base(**changes) -> T5ForConditionalGeneration:
    """T5-base in shape only: no weight is stored."""
    sizes = {"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12, "vocab_size": 32_128}
    with torch.device("meta"):
        return T5ForConditionalGeneration(T5Config(**{**sizes, **changes}))


def small_t5() -> T5ForConditionalGeneration:
    return t5_base(d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2, vocab_size=50)


def network(model: T5ForConditionalGeneration, adapter, projection=None) -> Network:
    visual = {} if projection is None else {"projection": projection}
    return Network(Seq2SeqBackbone(model, name="t5"), {"adapter": adapter, **visual})


@pytest.fixture(scope="module")
def published() -> Network:
    dept = DePT(torch.zeros(60, 768), num_virtual_tokens=60, r=30, max_length=256)
    return network(t5_base(), dept, VisualProjection(2048, 768, 36))


def test_clip_t5_base_with_dept_has_the_published_sizes(published):
    counted = count_weights(published)
    assert counted["by_group"] == {"prompt": 60 * 768, "low_rank": 30 * (256 + 768), "projection": PROJECTION}
    assert (counted["trained"], counted["backbone"], counted["total"]) == (1_678_848, TIED, 224_582_400)
    assert f"{counted['share']:.2%}" == "0.75%" and counted["share"] == 1_678_848 / 224_582_400
    assert counted["adapter_share"] == 76_800 / 224_582_400


def test_the_references_sizes_are_of_a_larger_table_and_another_projection():
    """VL_adapter adds 72 rows to the table, and a branch for boxes and image order where we have 36 positions."""
    backbone = sum(weight.numel() for weight in t5_base(vocab_size=32_200).parameters())
    branch = (2048 * 768 + 768 + 768) + (5 * 768 + 768 + 768) + 2 * 768
    assert backbone == 222_958_848 and branch == 1_581_312
    trained, total = branch + 76_800, backbone + branch + 76_800
    assert (trained, total) == (1_658_112, 224_616_960)
    assert f"{trained / total:.2%}" == "0.74%"


def test_the_image_tower_enters_the_second_denominator_only(published):
    counted, without = count_weights(published, 1_001_000), count_weights(published)
    assert counted["clip"] == 1_001_000 and without["clip"] == 0
    assert counted["total"] == without["total"] == without["total_with_clip"]
    assert counted["total_with_clip"] == counted["total"] + 1_001_000
    assert counted["share"] == without["share"] == without["share_with_clip"]
    assert counted["share_with_clip"] == 1_678_848 / counted["total_with_clip"]


def test_tied_weights_count_once():
    prompt = PromptTuning(torch.zeros(3, 8), num_virtual_tokens=3)
    model = small_t5()
    counted = count_weights(network(model, prompt))
    assert counted["backbone"] == sum(weight.numel() for weight in {id(w): w for w in model.parameters()}.values())
    assert model.lm_head.weight is model.get_input_embeddings().weight is model.decoder.embed_tokens.weight
    by_name = sum(weight.numel() for weight in model.state_dict().values())
    assert by_name == counted["backbone"] + 3 * 50 * 8, "the table has four names"
    model.lm_head = nn.Linear(8, 50, bias=False, device="meta")
    assert count_weights(network(model, prompt))["backbone"] == counted["backbone"] + 50 * 8


def test_text_alone_has_no_projection():
    counted = count_weights(network(small_t5(), PromptTuning(torch.zeros(3, 8), num_virtual_tokens=3)))
    assert counted["by_group"] == {"prompt": 24} and counted["trained"] == 24
    assert counted["adapter_share"] == counted["share"] == 24 / (24 + counted["backbone"])


def test_peak_memory_is_in_bytes_and_never_falls():
    before = measure.peak_memory(torch.device("cpu"))
    held = torch.ones(64 * 2**20, dtype=torch.uint8)
    after = measure.peak_memory(torch.device("cpu"))
    assert 2**25 < before <= after < 2**40 and held.numel()


def test_versions_of_what_is_installed_are_recorded(monkeypatch):
    monkeypatch.setattr(measure, "PACKAGES", ("torch", "no-such-package"))
    assert measure.packages() == {"torch-version": torch.__version__.partition("+")[0]} or measure.packages() == {
        "torch-version": torch.__version__
    }


def test_a_machine_is_described():
    described = measure.machine(torch.device("cpu"), num_processes=2)
    assert described["accelerator"] == "cpu" and described["num_processes"] == 2
    assert described["num_threads"] == torch.get_num_threads() and all(described[name] for name in ("system", "python"))


def test_the_commit_has_a_plus_when_files_differ_and_is_none_outside_a_checkout(tmp_path, monkeypatch):
    def git(*words: str) -> str:
        name = ("-c", "user.name=a", "-c", "user.email=a@b.invalid", "-c", "commit.gpgsign=false")
        return subprocess.run(["git", "-C", tmp_path, *name, *words], capture_output=True, text=True, check=True).stdout

    package = tmp_path / "dept_vl"
    package.mkdir()
    (package / "measure.py").write_text("")
    monkeypatch.setattr(measure, "__file__", str(package / "measure.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert measure.commit() is None
    git("init", "-q")
    assert measure.commit() is None, "no commit yet"
    git("add", ".")
    git("commit", "-q", "-m", "one")
    head = git("rev-parse", "HEAD").strip()
    assert measure.commit() == head[:12]
    (package / "measure.py").write_text("changed")
    assert measure.commit() == head[:12] + "+"
