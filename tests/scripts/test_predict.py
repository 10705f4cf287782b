"""The predict command on tiny models: its lines, its exit codes, what it says of images and rows it cannot read."""

import json
import os
import sys
import traceback
from pathlib import Path

import pytest
import torch

from dept_vl.adapters import build_adapter
from dept_vl.backbones import load_backbone
from dept_vl.cli.predict import main as command
from dept_vl.run.output import json_lines
from dept_vl.saved import ModelFacts, save_adapter
from dept_vl.serve import AdaptedModel
from dept_vl.tasks import TASKS
from dept_vl.vision import FrozenClip, VisualProjection
from tests.tiny_models import paint, write_tiny_clip, write_tiny_t5

pytestmark = pytest.mark.filterwarnings("ignore:.*not carried by the tokenizer:UserWarning")  # of a few words
CASES = Path(__file__).resolve().parents[3] / "shared" / "cases" / "predict_rows"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three adapter folders, "vqa", "caption" and "cola", beside the models that they were made for."""
    folder = tmp_path_factory.mktemp("runs")
    write_tiny_t5(folder / "t5")
    write_tiny_clip(folder / "clip")
    backbone = load_backbone(str(folder / "t5"))
    clip = FrozenClip.load(f"local-dir:{folder / 'clip'}", layer=2, pooling="none", resize="squash")
    for name, template in (("vqa", "vqa: {question}"), ("caption", "caption:"), ("cola", TASKS["cola"].template)):
        generator = torch.Generator().manual_seed(0)
        adapter = build_adapter("pt", torch.randn(3, 32, generator=generator), {"num_virtual_tokens": 3}, generator)
        text, projection = name == "cola", VisualProjection(clip.width, 32, clip.num_patches, generator)
        save_adapter(
            folder / name,
            {"adapter": adapter} if text else {"adapter": adapter, "projection": projection},
            backbone_identity=backbone.identity(),
            vision_identity=None if text else clip.identity(),
            task={
                "name": name, "template": template, "protocol": "as_published" if text else None,
                "max_source_length": 12, "max_target_length": 4, "num_beams": 1 if text else 2,
                "labels": {"red": "no", "blue": "yes"} if text else {}, "pad_token": None,
            },
            card=ModelFacts(name),
        )  # fmt: skip
    return folder


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for seed in range(3):
        paint(seed).save(folder / f"{seed}.png")
    return folder


@pytest.fixture
def predict(runs, capfd):
    """Run the command; returns exit code, the lines that it printed, and stderr."""

    def predict(adapter, given, *more, what="--image"):
        flags = ["--adapter", runs / adapter, what, given, "--backbone", runs / "t5", *more]
        code, message = 0, ""
        try:
            command([str(flag) for flag in flags])
        except SystemExit as error:  # with a message the status is 1
            code, message = (1, error.code) if isinstance(error.code, str) else (error.code, "")
        out, err = capfd.readouterr()
        return code, [json.loads(line) for line in out.splitlines()], err + message

    return predict


def test_a_question_about_one_image(predict, runs, images):
    code, lines, _ = predict("vqa", images / "0.png", "--question", "what color ?")
    wanted = AdaptedModel.from_pretrained(runs / "vqa", backbone=runs / "t5").answer([paint(0)], ["what color ?"])
    assert code == 0
    assert lines == [{"image": str(images / "0.png"), "question": "what color ?", "answer": wanted[0]}]


def test_a_folder_is_captioned_in_order_of_its_names(predict, images, tmp_path):
    output = tmp_path / "captions.jsonl"
    code, printed, err = predict("caption", images, "--output", output)
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert (code, printed) == (0, []) and "could not be read" not in err
    assert [Path(line["image"]).name for line in lines] == ["0.png", "1.png", "2.png"]
    assert all(len(line["caption"].split()) == 4 for line in lines)


def test_unreadable_images_are_named_and_counted_and_the_rest_is_answered(predict, images):
    data = (images / "1.png").read_bytes()
    (images / "1.png").write_bytes(data[: len(data) // 2])
    (images / "note.txt").write_text("hello")
    (images / ".hidden").write_text("not looked at")
    code, lines, err = predict("caption", images)
    assert code == 0 and [Path(line["image"]).name for line in lines] == ["0.png", "2.png"]
    assert f"cannot read the image {images / '1.png'}" in err and f"cannot read the image {images / 'note.txt'}" in err
    assert "2 of 4 images could not be read" in err and ".hidden" not in err


def test_nothing_readable_is_an_error(predict, images, tmp_path):
    code, lines, err = predict("caption", tmp_path / "nowhere.png")
    assert (code, lines) == (1, [])
    assert "nowhere.png" in err and "wanted at least one readable image, given none of 1 files" in err
    (tmp_path / "empty").mkdir()
    code, _, err = predict("caption", tmp_path / "empty", "--output", tmp_path / "out.jsonl")
    assert code == 1 and "given none of 0 files" in err and not (tmp_path / "out.jsonl").exists()


def test_a_caption_asked_of_an_adapter_that_answers(predict, images, tmp_path):
    code, _, err = predict("vqa", images, "--output", tmp_path / "out.jsonl")
    assert code == 1 and "caption(): wanted an adapter for 'caption', given 'default'" in err
    assert not (tmp_path / "out.jsonl").exists()


def test_no_adapter(predict, images, runs):
    code, _, err = predict("nothing", images)
    assert code == 1 and f"{runs / 'nothing'}: wanted a folder with adapter_config.json" in err
    assert err.count(": error: ") == 1 and err.count("\n") == 0


@pytest.fixture
def rows(tmp_path):
    file = tmp_path / "rows.jsonl"
    lines = [json.dumps({"sentence": f"the café {number}"}, ensure_ascii=False) for number in range(40)]
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


@pytest.fixture
def unloaded(monkeypatch):
    monkeypatch.setattr(AdaptedModel, "from_pretrained", lambda *_: pytest.fail("a model was loaded"))


def test_rows_are_written_as_utf_8_with_their_predictions(predict, rows, tmp_path):
    code, printed, _ = predict("cola", rows, what="--rows")
    assert code == 0 and [line["sentence"] for line in printed] == [f"the café {number}" for number in range(40)]
    assert {line["prediction"] for line in printed} <= {"no", "yes"}
    output = tmp_path / "not" / "there" / "yet.jsonl"
    assert predict("cola", rows, "--output", output, what="--rows")[:2] == (0, [])
    assert [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()] == printed
    (table := tmp_path / "rows.csv").write_text("label,sentence\n1,the café 0\n", encoding="utf-8")
    _, [line], _ = predict("cola", table, what="--rows")
    assert line == {"label": "1", **printed[0]}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bad", r"bad.jsonl: wanted a whole JSON file, given one cut or broken in line 2, of 8 bytes"),
        ("null", "null.jsonl: wanted a text in the field 'sentence' of cola in line 1, given None (null in JSON)"),
        ("empty", "empty.jsonl: wanted at least one row, given an empty file"),
        ("wrongfield", "wrongfield.jsonl: wanted the field 'sentence' of cola in line 1, given text. Did you mean"),
    ],
)
@pytest.mark.skipif(not CASES.is_dir(), reason="skipped: no ../shared/cases/predict_rows")
def test_rows_of_strangers_are_refused_by_file_line_and_field_before_a_model_loads(name, message, predict, unloaded):
    code, printed, err = predict("cola", CASES / f"{name}.jsonl", what="--rows")
    assert (code, printed) == (1, []) and message in err and err.count("\n") == 0


@pytest.mark.skipif(not CASES.is_dir(), reason="skipped: no ../shared/cases/predict_rows")
def test_a_byte_order_mark_is_no_part_of_a_row(predict):
    code, printed, _ = predict("cola", CASES / "bom.jsonl", what="--rows")
    assert code == 0 and [line["sentence"] for line in printed] == ["The cat sat.", "Café gut 😀."]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"sentence": 5}', r"wanted a text in the field 'sentence' of cola in line 2, given 5 (int)"),
        ('{"sentnce": "a", "id": 3}', "given sentnce, id. Did you mean 'sentence'?"),
        ('{"id": 3, "label": 1}', "wanted the field 'sentence' of cola in line 2, given id, label."),
        ('{"sentence": "a", "prediction": 1}', "wanted rows without 'prediction', which is written"),
    ],
)
def test_a_wrong_row_names_its_line(line, message, predict, unloaded, tmp_path):
    (file := tmp_path / "rows.jsonl").write_text(f'{{"sentence": "a"}}\n{line}\n')
    code, _, err = predict("cola", file, what="--rows")
    assert code == 1 and f"error: {file}: " in err and message in err and "line 2" in err


def test_the_output_is_opened_before_a_model_loads(predict, images, unloaded, tmp_path):
    (file := tmp_path / "file").write_text("kept")
    code, _, err = predict("caption", images, "--output", file / "out.jsonl")
    assert code == 1 and f"{file}: wanted a folder for out.jsonl, given a file" in err
    code, _, err = predict("caption", images, "--output", tmp_path)
    assert code == 1 and f"{tmp_path}: Is a directory" in err
    code, _, err = predict("vqa", images, "--output", file)  # a caption of an adapter that answers
    assert code == 1 and "caption(): wanted" in err and file.read_text() == "kept"


def test_what_was_done_is_kept_when_the_work_breaks_off(predict, rows, tmp_path, monkeypatch):
    answers, calls = AdaptedModel.classify, []

    def classify(model, texts):
        if calls.append(len(texts)) or len(calls) > 1:
            raise OSError("the power is gone")
        return answers(model, texts)

    monkeypatch.setattr(AdaptedModel, "classify", classify)
    (output := tmp_path / "out.jsonl").write_text("what stood there before\n")
    code, _, err = predict("cola", rows, "--output", output, what="--rows")
    assert code == 1 and "the power is gone" in err
    assert [json.loads(line)["sentence"] for line in output.read_text(encoding="utf-8").splitlines()] == [
        f"the café {number}" for number in range(32)
    ]


def test_each_line_is_on_the_disk_at_once_and_any_name_can_be_written(tmp_path):
    with json_lines(tmp_path / "out.jsonl") as write:
        for number, name in enumerate(("é", os.fsdecode(b"\xff")), 1):
            write({"image": name})
            lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
            assert len(lines) == number and json.loads(lines[-1]) == {"image": name}


def test_an_output_over_its_input_is_refused(predict, rows, capfd):
    code, _, err = predict("cola", rows, "--output", rows, what="--rows")
    assert code == 2 and "wanted another file than --rows" in err
    code, _, err = predict("cola", rows, "--question", "what ?", what="--rows")
    assert code == 2 and "--question: asked of images" in err


def test_a_printed_line_has_every_character_whatever_the_locale(predict, monkeypatch, tmp_path):
    (file := tmp_path / "rows.jsonl").write_text('{"sentence": "é 😀"}', encoding="utf-8")
    with open(os.dup(1), "w", encoding="latin-1") as stdout:
        monkeypatch.setattr("sys.stdout", stdout)
        code, [line], _ = predict("cola", file, what="--rows")
    assert code == 0 and line["sentence"] == "é 😀"


def test_help_explains_every_flag(capsys):
    with pytest.raises(SystemExit):
        command(["--help"])
    out = capsys.readouterr().out
    assert all(flag in out for flag in ("--adapter RUN", "--image IMAGE", "--question", "--device", "--output JSONL"))


def without_posix(arguments):
    """The command in a process whose package was imported where importing fcntl and resource fails, as on Windows."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "dept_vl"]:
        del sys.modules[name]
    sys.meta_path[:] = [each for each in sys.meta_path if "jaxtyping" not in type(each).__module__]  # it takes its time
    sys.modules |= dict.fromkeys(("fcntl", "resource", "grp", "pwd", "termios"))
    from dept_vl import cli, load_adapter

    load_adapter(arguments[1]).fold()
    cli.main(["predict", *arguments])


def test_it_predicts_where_fcntl_and_resource_are_missing(runs, images, tmp_path):
    written = tmp_path / "out.jsonl"
    flags = ["--adapter", runs / "caption", "--image", images, "--backbone", runs / "t5", "--output", written]
    process = os.fork()
    if not process:
        try:
            without_posix([*map(str, flags)])
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitpid(process, 0)[1] == 0
    assert len(written.read_text(encoding="utf-8").splitlines()) == 3
