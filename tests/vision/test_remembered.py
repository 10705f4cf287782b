"""A tower is remembered by its settings and the content of its files, and says then what it would say of itself."""

import json
from pathlib import Path

import pytest
import torch

from dept_vl.vision import remembered
from dept_vl.vision.remembered import RememberedTower, facts_of, find_tower
from dept_vl.vision.store import extract
from dept_vl.vision.tower import Tower, UnloadableTower


@pytest.fixture
def settings(copy_clip):
    return {"model_name": copy_clip(), "layer": 3, "pooling": "stack"}


def test_a_file_of_a_package_is_known_by_its_content(tmp_path, monkeypatch):
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"old")
    monkeypatch.setattr(remembered, "packaged", lambda name: weights if name.startswith("package:") else None)
    settings = {"kind": "timm", "model_name": "resnet10t", "weights": "package:some/weights.safetensors"}
    assert remembered._files(settings) == {"weights": weights}
    assert remembered._files({**settings, "weights": str(weights)}) == {"weights": weights}


def test_a_tower_that_is_not_the_remembered_one_is_refused(settings, tmp_path):
    find_tower(settings, tmp_path)
    other = find_tower(settings, tmp_path)
    other._facts.identity["vision_model_name"] = "another"
    with pytest.raises(UnloadableTower, match="its files changed meanwhile"):
        other.built()


@pytest.fixture
def count_built(monkeypatch):
    """How often a tower was built."""
    built = []
    build = remembered.build_tower
    monkeypatch.setattr(remembered, "build_tower", lambda *given, **more: built.append(1) or build(*given, **more))
    return built


def test_a_second_run_knows_the_tower_without_building_it(settings, tmp_path, count_built):
    first, second = find_tower(settings, tmp_path, batch_size=7), find_tower(settings, tmp_path, batch_size=7)
    assert isinstance(first, Tower) and isinstance(second, RememberedTower) and len(count_built) == 1
    assert second.identity() == json.loads(json.dumps(first.identity()))
    assert (second.num_patches, second.width, second.batch_size) == (first.num_patches, first.width, 7)
    assert second.weights == sum(weight.numel() for weight in first.parameters())


def test_stored_features_are_found_without_a_tower_and_new_ones_are_made_by_one(
    settings, make_images, tmp_path, count_built
):
    pictures = make_images(3)
    keys = sorted(pictures)
    some = {key: pictures[key] for key in keys[:2]}
    made = extract(find_tower(settings, tmp_path), some, tmp_path).gather(keys[:2])
    found = extract(find_tower(settings, tmp_path), some, tmp_path)
    assert torch.equal(found.gather(keys[:2]), made) and len(count_built) == 1
    more = extract(find_tower(settings, tmp_path), pictures, tmp_path)
    assert len(count_built) == 2 and more.folder == found.folder and len(more) == len(pictures)
    plain = extract(remembered.build_tower(settings), pictures, tmp_path / "plain")
    torch.testing.assert_close(more.gather(keys), plain.gather(keys), rtol=1e-3, atol=1e-3)  # batches of 1 and of 3


def test_other_settings_other_weights_and_another_library_are_other_towers(
    settings, tmp_path, copy_clip, monkeypatch, count_built
):
    find_tower(settings, tmp_path)
    find_tower({**settings, "layer": 2}, tmp_path)
    other = copy_clip(name="other", weights=lambda tensors: tensors["visual.conv1.weight"].mul_(2))
    find_tower({**settings, "model_name": other}, tmp_path)
    assert len(count_built) == 3
    monkeypatch.setattr(remembered, "version", lambda name: "99")
    assert isinstance(find_tower(settings, tmp_path), Tower)


def test_a_changed_file_is_seen(settings, tmp_path, count_built):
    first = facts_of(find_tower(settings, tmp_path))
    path = Path(settings["model_name"].removeprefix("local-dir:")) / "open_clip_config.json"
    path.write_text(path.read_text() + "\n")
    assert facts_of(find_tower(settings, tmp_path)) == first and len(count_built) == 2


@pytest.mark.parametrize("content", ["", "{", '{"a": 1}', "[]"])
def test_a_damaged_record_is_made_anew(settings, tmp_path, content, count_built):
    find_tower(settings, tmp_path)
    (tmp_path / "towers.json").write_text(content)
    find_tower(settings, tmp_path)
    assert len(count_built) == 2 and isinstance(find_tower(settings, tmp_path), RememberedTower)


def test_a_tower_whose_files_are_not_known_is_built_each_time(tmp_path, monkeypatch, load_clip):
    tower = load_clip()
    monkeypatch.setattr(remembered, "build_tower", lambda settings, batch_size: tower)
    for settings in (
        {"model_name": "RN50"},
        {"kind": "timm", "model_name": "resnet18"},
        {"kind": "transformers", "model_name": "org/name"},
    ):
        assert find_tower(settings, tmp_path) is tower
    second = {"model_name": "tiny-clip", "second": {"model_name": "RN50"}}
    assert find_tower(second, tmp_path) is tower and not (tmp_path / "towers.json").exists()
