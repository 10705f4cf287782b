"""The page's own parts, without a browser: what they refuse and how, the report's frame, the command."""

import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

from dept_vl import cli
from dept_vl.embedded.shapes.world import Scene
from dept_vl.serve.demo import command
from dept_vl.serve.demo.runs import load_runs
from tests.tiny_models import paint

ROOT = Path(command.__file__).parents[3]
gradio = pytest.importorskip("gradio", reason="skipped: the extra demo is not installed")
from dept_vl.serve.demo.editor_panel import show, show_all  # noqa: E402
from dept_vl.serve.demo.page import build_page  # noqa: E402
from dept_vl.serve.demo.pictures_tab import EXAMPLES, _answering, read_dropped  # noqa: E402
from dept_vl.serve.demo.report_tab import framed  # noqa: E402


@pytest.fixture
def loaded(save, t5_folder):
    folders = [save("dept"), save("pt"), save("dpt", "captions", name="caption", template="caption:")]
    (folders[0] / "report.html").write_text("<h1>A report</h1>")
    return load_runs(folders, backbone=str(t5_folder), say=lambda line: None)


def test_the_page_has_a_tab_for_pictures_and_one_for_each_text_task(loaded, save, t5_folder):
    text = save("pt", "words", visual=False, name="cola", template="sentence: {sentence}",
                labels={"0": "a", "1": "b"}, protocol="as_published")  # fmt: skip
    page = build_page([*loaded, *load_runs([text], backbone=str(t5_folder), say=lambda line: None)])
    config = page.get_config_file()
    tabs = [each["props"]["label"] for each in config["components"] if each["type"] == "tabitem"]
    assert [each for each in tabs if each not in ("Draw one", "Use a file")] == ["Pictures", "cola", "Report"]
    assert not page.analytics_enabled
    named = [each["api_name"] for each in config["dependencies"] if each["api_visibility"] != "private"]
    assert named == [], "the page is for people: nothing of it is an API"


def test_an_answer_knows_the_truth_of_an_example_only_while_it_stands(loaded):
    answer = _answering({each.name: each for each in loaded}, asks=True)
    known = EXAMPLES[0]
    names = ["dept", "pt", "captions"]
    page = answer(known.scene, None, known.question, names, True, known)
    assert f"<b>{known.answer}</b>" in page and page.count('class="own"') == page.count('class="blind"') == 3
    changed = Scene(known.scene.things, "light" if known.scene.ground == "dark" else "dark")
    others = ((changed, None, known.question), (known.scene, paint(1), known.question), (known.scene, None, "no ?"))
    for given in others:
        assert "right answer" not in answer(*given, names[:1], False, known)


def test_what_is_missing_is_asked_for(loaded):
    answer = _answering({each.name: each for each in loaded}, asks=True)
    scene = EXAMPLES[0].scene
    assert "Choose at least one adapter" in answer(scene, None, "what ?", [], True, None)
    assert "Type a question" in answer(scene, None, "  ", ["dept"], True, None)
    assert "captions" in answer(scene, None, "", ["captions"], True, None)


def test_an_unreadable_file_is_one_plain_sentence_that_shows_no_path(tmp_path):
    file = tmp_path / "holiday.png"
    file.write_bytes(b"no picture at all")
    picture, sentence = read_dropped(str(file))
    assert picture is None and sentence.startswith("holiday.png cannot be read as a picture: ")
    assert str(tmp_path) not in sentence and sentence.count(".") == sentence.count("holiday.png") + 1
    paint(3).save(file)
    picture, sentence = read_dropped(str(file))
    assert picture.tobytes() == paint(3).tobytes() and sentence == ""


def test_a_shown_scene_takes_the_place_of_a_dropped_picture():
    scene = EXAMPLES[0].scene
    assert show(scene)[:2] == (scene, None)
    assert show_all(Scene((), "light"), 4)[4:] == (4, "nothing", "red", "large", "light")


def test_a_report_stands_in_a_frame_that_runs_nothing(tmp_path):
    report = tmp_path / "report.html"
    report.write_text('<h1>"Report"</h1><script>parent.alert(1)</script>')
    page = framed(report)
    assert page.startswith("<iframe") and " sandbox srcdoc=" in page and "allow-" not in page
    inside = page.partition('srcdoc="')[2].rpartition('">')[0]
    assert '"' not in inside and unescape(inside) == report.read_text()
    assert "cannot be read" in framed(tmp_path / "absent.html")


def test_the_command_says_what_is_wanted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["/usr/bin/dept-vl"])
    with pytest.raises(SystemExit) as stop:
        cli.main(["demo"])
    assert "wanted a RUN to open" in stop.value.code
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as stop:
        cli.main(["demo", "runs/a"])
    assert "pip install 'dept_vl[demo]'" in stop.value.code
    with pytest.raises(SystemExit):
        cli.main(["demo", "--help"])
    assert "127.0.0.1" in capsys.readouterr().out


def test_make_demo_trains_the_quickstart_only_where_there_is_none():
    trained = "runs/vqa_shapes/adapter_config.json"
    for flags, trains in ((["-B"], True), (["-o", trained, "-o", ".venv/.installed"], False)):
        done = subprocess.run(["make", "-n", *flags, "demo"], capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0 and "dept-vl demo runs/vqa_shapes" in done.stdout
        assert ("train_vqa.py" in done.stdout) == trains
