"""Weights of whole networks from a stranger's file: read in every form, and nothing but tensors comes out."""

import collections
import pickle

import pytest
import torch
from safetensors.torch import save_file

from dept_vl.untrusted.bad_file import BadFile
from dept_vl.untrusted.network_files import read_network_weights

STATE = {"conv.weight": torch.randn(4, 3, 2, 2), "bn.running_mean": torch.randn(4).half(),
         "bn.num_batches_tracked": torch.tensor(3)}  # fmt: skip


def write(path, state=STATE, legacy=False):
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    return path


@pytest.mark.parametrize(("name", "legacy"), [("x.safetensors", False), ("x.pth", False), ("x.pth", True)])
def test_every_form_gives_the_floats_as_fp32(tmp_path, name, legacy):
    found = read_network_weights(write(tmp_path / name, legacy=legacy))
    assert list(found) == ["bn.running_mean", "conv.weight"] or list(found) == ["conv.weight", "bn.running_mean"]
    assert all(value.dtype == torch.float32 for value in found.values())
    assert torch.equal(found["conv.weight"], STATE["conv.weight"])


@pytest.mark.parametrize("legacy", [False, True])
def test_a_state_dict_of_hundreds_of_tensors_is_read(tmp_path, legacy):
    state = collections.OrderedDict((f"blocks.{n}.weight", torch.full((2,), float(n))) for n in range(400))
    assert read_network_weights(write(tmp_path / "x.pth", state, legacy))["blocks.399.weight"].tolist() == [399, 399]


class Evil:
    def __reduce__(self):
        return eval, ("1/0",)


@pytest.mark.parametrize("legacy", [False, True])
def test_nothing_is_executed(tmp_path, legacy):
    with pytest.raises(BadFile, match="x.pth: wanted a torch file of tensors alone, given"):
        read_network_weights(write(tmp_path / "x.pth", {"a": Evil()}, legacy))


def test_a_legacy_file_that_claims_more_than_it_holds_is_refused_before_torch_reserves_it(tmp_path, monkeypatch):
    path = write(tmp_path / "x.pth", {"a": torch.zeros(1000)}, legacy=True)
    data = path.read_bytes()
    claim, great = (1000).to_bytes(2, "little"), (60_000).to_bytes(2, "little")
    assert data.count(b"M" + claim) >= 1  # BININT2, of the storage and of the shape
    path.write_bytes(data.replace(b"M" + claim, b"M" + great))
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(BadFile, match=r"one of [\d,]+ bytes that holds 60,000 numbers"):
        read_network_weights(path)


@pytest.mark.parametrize("cut", [1, 30, 300])
@pytest.mark.parametrize(("name", "legacy"), [("x.safetensors", False), ("x.pth", False), ("x.pth", True)])
def test_a_file_cut_short_is_named(tmp_path, name, legacy, cut):
    path = write(tmp_path / name, {"a": torch.zeros(200)}, legacy)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(BadFile, match=f"{name}: wanted"):
        read_network_weights(path)


def test_what_is_no_file_of_weights_is_refused(tmp_path):
    def refused(message, data, name="x.pth"):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(BadFile, match=message):
            read_network_weights(tmp_path / name)

    refused("given one of other bytes", b"no pickle")
    refused("given one of other bytes, or whose structure", pickle.dumps({"a": "x" * 2**21}, protocol=2))
    refused("a git-lfs pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n")
    refused(
        "finite floating point weights, given a with 2 of 3",
        _saved({"a": torch.tensor([1, float("nan"), float("inf")])}),
    )
    with pytest.raises(BadFile, match="none.pth: wanted a file of weights, given no such file"):
        read_network_weights(tmp_path / "none.pth")


def _saved(state):
    import io

    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()
