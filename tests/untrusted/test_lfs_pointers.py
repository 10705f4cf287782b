import pytest

from dept_vl.saved.files import read_config, read_weights
from dept_vl.untrusted.bad_file import BadFile
from dept_vl.untrusted.gzip_bytes import read_bytes
from dept_vl.untrusted.images import open_image
from dept_vl.untrusted.json_files import parse_json, read_json
from dept_vl.untrusted.lfs_pointers import refuse_pointers
from dept_vl.untrusted.tensor_files import read_safetensors, read_torch_weights
from dept_vl.untrusted.yaml_text import parse_yaml

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'ab' * 32}\nsize 891646390\n"
READERS = {
    "rows.tsv": read_bytes,
    "annotations.json": lambda path: read_json(path, dict),
    "progress.json": lambda path: parse_json(path.read_bytes()),
    "plan.yaml": lambda path: parse_yaml(path.read_text()),
    "photo.jpg": open_image,
    "weights.safetensors": read_safetensors,
    "weights.bin": read_torch_weights,
    "adapter_config.json": lambda path: read_config(path.parent),
    "adapter_model.safetensors": read_weights,
    "model.json": lambda path: refuse_pointers(path.parent, "*.json"),
}


@pytest.mark.parametrize("name", READERS)
def test_a_git_lfs_pointer_is_called_by_its_name_and_what_to_do_is_said(tmp_path, name):
    (tmp_path / name).write_text(POINTER)
    with pytest.raises(ValueError, match="a git-lfs pointer, not the file: run `git lfs pull`"):
        READERS[name](tmp_path / name)


def test_a_pointer_among_files_that_nobody_asks_for_is_left_alone(tmp_path):
    (tmp_path / "tf_model.h5").write_text(POINTER)
    refuse_pointers(tmp_path, "*.json", "*.safetensors")
    with pytest.raises(BadFile, match="tf_model.h5: wanted a file with its content, given a git-lfs pointer"):
        refuse_pointers(tmp_path, "*")
