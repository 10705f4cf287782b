"""`dept-vl features`: what it says of stores, what it finds damaged, and what it deletes."""

import pytest

from dept_vl import cli
from dept_vl.vision.catalogue import UnknownStore, check_store, keep_up, list_stores
from dept_vl.vision.store import extract


@pytest.fixture
def stores(load_clip, make_images, tmp_path):
    """Two stores in tmp_path / "features": of layer 3 with five images in three files, of layer 4 with two."""
    folder, images = tmp_path / "features", make_images(5)
    clips = [load_clip("resnet", layer=3, pooling="max", pool_size=2), load_clip("resnet", layer=4)]
    first = extract(clips[0], images, folder, shard_size=2)
    second = extract(clips[1], dict(list(images.items())[:2]), folder)
    (folder / "6f19f529d43f84d8a84a").mkdir()  # of no store
    return first.folder, second.folder


def run(capsys, *words):
    code = 0
    try:
        cli.main(["features", *map(str, words)])
    except SystemExit as stop:
        code = stop.code
    return code, capsys.readouterr().out.splitlines()


def flip(path, offset=-3):
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def test_stores_are_listed_with_tower_and_size(stores, tmp_path, capsys):
    code, lines = run(capsys, "list", "--dir", tmp_path / "features")
    assert code == 0 and len(lines) == 2
    by_name = {line.split()[0]: line for line in lines}
    assert set(by_name) == {place.name for place in stores}
    line = by_name[stores[0].name]
    assert "open_clip local-dir:" in line and "layer 3, pooling max to 2 x 2; 4 x 256 float16; 5 images, 0.0 MB" in line
    assert "layer 4, pooling none; 9 x 512 float16; 2 images" in by_name[stores[1].name]
    code, lines = run(capsys, "list", stores[1].name[:6], "--dir", tmp_path / "features")
    assert len(lines) == 1 and lines[0].startswith(stores[1].name)


def test_nothing_to_list_is_said(tmp_path, capsys):
    assert run(capsys, "list", "--dir", tmp_path) == (0, [f"no feature store in {tmp_path}"])


def test_one_flipped_bit_is_found_and_deleted_and_what_it_held_is_made_anew(
    stores, load_clip, make_images, tmp_path, capsys
):
    folder = tmp_path / "features"
    code, lines = run(capsys, "check", "--dir", folder)
    assert code == 0 and lines[1::2] == ["  whole: every file is as it was written"] * 2
    whole = {path.name: path.read_bytes() for path in stores[0].iterdir()}
    flipped, cut = sorted(stores[0].glob("*.safetensors"))[:2]
    flip(flipped)
    cut.write_bytes(cut.read_bytes()[:-1])
    code, lines = run(capsys, "check", "--dir", folder)
    assert str(code).startswith("2 damaged: ") and len(lines) == 5
    assert sorted(check_store(stores[0])) == [flipped, cut] and not check_store(stores[1])
    code, lines = run(capsys, "prune", "--damaged", "--dir", folder)
    assert code == 0 and {f"  deleted {flipped}", f"  deleted {cut}"} < set(lines)
    assert not flipped.exists() and not cut.exists() and len(list(stores[0].glob("*.safetensors"))) == 1
    clip = load_clip("resnet", layer=3, pooling="max", pool_size=2)
    extract(clip, make_images(5), folder, shard_size=2)
    assert {path.name: path.read_bytes() for path in stores[0].iterdir()} == whole


def test_a_store_is_pruned_by_its_name_alone(stores, tmp_path, capsys):
    folder = tmp_path / "features"
    code, _ = run(capsys, "prune", "--dir", folder)
    assert code == 2 and all(place.exists() for place in stores)
    with pytest.raises(UnknownStore, match="wanted the name of one feature store, given 'x', which none of"):
        list_stores(folder, ["x"])
    with pytest.raises(UnknownStore, match="given '', which 2 of"):
        keep_up("prune", folder, [""])
    code, [line, deleted] = run(capsys, "prune", stores[0].name[:8], "--dir", folder)
    assert code == 0 and line.startswith(stores[0].name) and deleted == "  deleted"
    assert not stores[0].exists() and stores[1].exists() and (folder / "6f19f529d43f84d8a84a").exists()


def test_a_damaged_description_is_told_and_left_for_the_next_run(stores, tmp_path, capsys):
    path = stores[0] / "store.json"
    path.write_text("{")
    code, lines = run(capsys, "check", stores[0].name, "--dir", tmp_path / "features")
    assert str(code).startswith("1 damaged") and all("describes no feature store" in line for line in lines)
    run(capsys, "prune", stores[0].name, "--damaged", "--dir", tmp_path / "features")
    assert path.exists() and len(list(stores[0].glob("*.safetensors"))) == 3
