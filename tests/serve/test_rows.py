import io
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dept_vl.model import BASE
from dept_vl.saved import BadAdapterFolder
from dept_vl.serve import UnknownAdapter, WrongRows, WrongTask
from dept_vl.vision import UnreadableImage


@pytest.fixture
def model(save, load):
    model = load(save("dept"), adapter_name="seeing")
    model.load_adapter(save("pt", visual=False), adapter_name="text")
    return model


@pytest.fixture
def foreign_folder(tmp_path):
    folder = tmp_path / "peft"
    folder.mkdir()
    config = {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 2, "token_dim": 32}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file({"prompt_embeddings": torch.zeros(2, 32)}, folder / "adapter_model.safetensors")
    return folder


def test_lists_in(model, pictures):
    with pytest.raises(WrongRows, match=r"questions: wanted a list, one entry a row, given one str: put it in \[\]"):
        model.answer([pictures[0]], "what color")
    with pytest.raises(WrongRows, match=r"images: wanted a list, .*given one str"):
        model.caption("picture.png")
    with pytest.raises(WrongRows, match=r"adapter_names: wanted a list, .*given one str"):
        model.answer([pictures[0]], ["what color"], "seeing")


BAD_ROWS = {
    "no question": ([0, 0], ["what", None], "row 1: questions: wanted a text, given None"),
    "a number": ([0, 0], ["what", 5], r"row 1: questions: wanted a text, given 5 \(int\)"),
    "no picture": ([0, 3], ["what", "what"], "row 1: wanted a picture .*, given int"),
    "an empty array": ([0, np.zeros((0, 4))], ["what", "what"], "row 1: wanted a picture of shape"),
    "no image": ([0, b"hello"], ["what", "what"], "row 1: cannot read the image of 5 bytes"),
    "no file": ([0, "none.png"], ["what", "what"], "row 1: cannot read the image none.png"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row_is_refused_by_its_number_before_any_model_runs(case, model, pictures, monkeypatch):
    monkeypatch.setattr(model.network, "embed", lambda *_: pytest.fail("it ran"))
    monkeypatch.setattr("dept_vl.serve.adapted.look", lambda *_: pytest.fail("it looked"))
    images, questions, message = BAD_ROWS[case]
    with pytest.raises(ValueError, match=message):
        model.answer([pictures[0] if isinstance(each, int) and each == 0 else each for each in images], questions)


def test_a_name_that_is_none_is_refused_by_its_row(model, pictures):
    with pytest.raises(WrongRows, match="row 1: adapter_names: wanted a name, given None"):
        model.answer(pictures[:2], ["what", "what"], ["seeing", None])


def test_a_file_that_is_cut_behind_its_header_names_its_row(model, pictures):
    pictures[0].resize((200, 200)).save(file := io.BytesIO(), format="PNG")
    with pytest.raises(UnreadableImage, match="row 1: cannot read the image of .* wanted a whole image"):
        model.answer([pictures[0], file.getvalue()[:-100]], ["what", "what"])


def test_lists_of_one_length(model, pictures):
    message = r"wanted lists of one length, given \{'images': 2, 'questions': 1, 'adapter_names': 2\}"
    with pytest.raises(WrongRows, match=message):
        model.answer(pictures[:2], ["what color"])
    with pytest.raises(WrongRows, match="'questions': 2, 'adapter_names': 1"):
        model.answer(None, ["what", "what"], ["text"])


def test_the_base_model_sees_no_image(model, pictures):
    message = r"row 1: '__base__' cannot see an image \(.*no projection\): wanted None in its place, given one"
    with pytest.raises(WrongRows, match=message):
        model.answer(pictures[:2], ["what", "what"], ["seeing", BASE])
    with model.disable_adapter(), pytest.raises(WrongRows, match="row 0: '__base__' cannot see an image"):
        model.answer(pictures[:1], ["what"])


def test_a_text_adapter_sees_no_image(model, pictures):
    with pytest.raises(WrongRows, match=r"row 0: 'text' cannot see an image \(it was trained on text alone\)"):
        model.answer(pictures[:1], ["what"], ["text"])


def test_an_adapter_that_reads_images_wants_one(model, pictures):
    with pytest.raises(WrongRows, match="row 1: 'seeing' reads an image beside its text: wanted one, given None"):
        model.answer([pictures[0], None], ["what", "what"])


def test_the_task_must_be_the_adapter_s(model, save, pictures):
    with pytest.raises(WrongTask, match=r"caption\(\): wanted an adapter for 'caption', given 'seeing', one for 'vqa'"):
        model.caption(pictures)
    model.load_adapter(save("none", name="caption", template="caption:"), adapter_name="captions")
    message = r"answer\(\): wanted an adapter for 'vqa', given 'captions', one for 'caption'"
    with pytest.raises(WrongTask, match=message):
        model.answer(pictures[:1], ["what"], ["captions"])


def test_an_imported_adapter_records_no_task(model, foreign_folder):
    model.load_adapter(foreign_folder, adapter_name="imported")
    with pytest.raises(WrongTask, match="given 'imported', one whose config records no task"):
        model.answer(None, ["what"], ["imported"])


def test_a_template_that_asks_for_something_else(model, save):
    with pytest.raises(BadAdapterFolder, match="template: wanted a name alone in each pair of braces"):
        model.load_adapter(save("dpt", visual=False, template="{question.__class__}"), adapter_name="odd")
    with pytest.raises(WrongTask, match=r"odd: template: wanted the field \{question\} and no other"):
        model.load_adapter(save("dpt", visual=False, template="{other}"), adapter_name="odd")


def test_names(model, save, tmp_path):
    folder = save("dpt")
    for taken in ("seeing", BASE):
        with pytest.raises(UnknownAdapter, match=f"wanted one that is free, given '{taken}', which is taken"):
            model.load_adapter(folder, adapter_name=taken)
    for name in ("", "..", "a/b"):
        with pytest.raises(UnknownAdapter, match=f"wanted a name that a folder can have, given '{name}'"):
            model.load_adapter(folder, adapter_name=name)
    with pytest.raises(UnknownAdapter, match=r"unknown adapter 'seing': .*\(seeing, text\). Did you mean 'seeing'\?"):
        model.set_adapter("seing")
    with pytest.raises(UnknownAdapter, match="unknown adapter 'x'"):
        model.delete_adapter("x")
    with pytest.raises(BadAdapterFolder, match="no such folder"):
        model.load_adapter(tmp_path / "nowhere", adapter_name="nowhere")


def test_a_model_whose_adapters_are_all_gone_says_so(model):
    model.delete_adapter("seeing")
    model.delete_adapter("text")
    assert model.active_adapters == []
    with pytest.raises(WrongTask, match="wanted a loaded adapter, given none"):
        model.answer(None, ["what"])
