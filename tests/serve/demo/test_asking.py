"""Loading adapters for the page, asking them, and the HTML and pictures that come of it."""

import json

import pytest
import torch
from PIL import Image

from dept_vl.backbones import load_backbone
from dept_vl.embedded.shapes.text import TEXT_SETS
from dept_vl.saved import BadAdapterFolder
from dept_vl.serve import WrongTask
from dept_vl.serve.demo.asking import Said, ask_all, parts_that_mattered, row_for
from dept_vl.serve.demo.runs import LoadedRun, load_runs, projection_only_beside
from dept_vl.serve.demo.shown import answer_cards, in_words, marked, percent
from dept_vl.serve.likely import Likely
from tests.tiny_models import write_tiny_t5

QUESTION = {"question": "what color is the circle ?"}


@pytest.fixture
def runs(t5_folder):
    def runs(*folders):
        return load_runs(folders, backbone=str(t5_folder), say=lambda line: None)

    return runs


def test_adapters_of_one_frozen_model_share_it_and_others_get_their_own(save, runs, t5_folder, tmp_path, monkeypatch):
    identity = load_backbone(str(write_tiny_t5(tmp_path / "other_t5", seed=5))).identity()
    (tmp_path / t5_folder.name).symlink_to(t5_folder)
    monkeypatch.chdir(tmp_path)  # where both are found by the names that are recorded
    folders = [save("dept"), save("pt"), save("dpt", "foreign", backbone_identity=identity, visual=False)]
    first, second = runs(*folders[:2])
    assert (
        first.model is second.model
        and first.engine is second.engine
        and set(first.model.adapters.loaded) == {"dept", "pt"}
    )
    both = load_runs([folders[2], folders[2]], say=lambda line: None)
    assert both[0].model is both[1].model and [each.name for each in both] == ["foreign", f"{tmp_path.name}-foreign"]
    mixed = load_runs([folders[2], folders[0]], say=lambda line: None)
    assert mixed[0].model is not mixed[1].model


def test_a_folder_of_adapters_stands_for_them_all(save, runs, tmp_path):
    for method in ("dept", "pt"):
        save(method)
    assert [each.name for each in runs(tmp_path)] == ["dept", "pt"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadAdapterFolder, match="adapter_config.json"):
        runs(tmp_path / "empty")


def test_an_adapter_that_records_no_task_is_refused(save, runs):
    folder = save("dept")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"task": None}))
    with pytest.raises(WrongTask, match="records no"):
        runs(folder)


def test_a_run_of_the_projection_alone_is_found_beside(save, runs):
    dept, text = save("dept"), save("pt", visual=False)
    assert projection_only_beside(dept) is None
    save("none", "captions", name="caption", template="caption:")
    assert projection_only_beside(dept) is None
    alone = save("none", "alone")
    assert projection_only_beside(dept) == alone
    assert projection_only_beside(text) is None
    assert [each.about for each in runs(dept, alone)] == ["dept", "projection only"]


def test_each_adapter_answers_as_it_does_elsewhere(save, runs, pictures):
    loaded = runs(save("dept"), save("pt"), save("none", "alone"))
    said = ask_all(loaded, pictures[0], QUESTION, blind=True)
    for each in said:
        model, name = each.adapter.model, each.adapter.name
        assert [each.answers[0].text] == model.answer([pictures[0]], [QUESTION["question"]], [name])
        assert each.blind and 0 < each.seconds < 60 and each.notes == []
    assert len({each.answers[0].text for each in said}) > 1
    blind = [ask_all(loaded[:1], picture, QUESTION, blind=True)[0].blind[0] for picture in pictures[:2]]
    assert blind[0].text == blind[1].text and blind[0].probability == pytest.approx(blind[1].probability)


def test_an_adapter_that_reads_text_alone_is_not_shown_the_picture(save, runs, pictures):
    [loaded] = runs(save("pt", visual=False))
    [said] = ask_all([loaded], pictures[0], QUESTION, blind=True)
    assert said.blind is None and [said.answers[0].text] == loaded.model.answer(None, [QUESTION["question"]])


def test_a_question_that_is_cut_is_told(save, runs, pictures):
    [loaded] = runs(save("dept"))
    [said] = ask_all([loaded], pictures[0], {"question": "red " * 30}, blind=False)
    assert len(said.notes) == 1 and "were cut" in said.notes[0]
    assert "were cut" in answer_cards([said])


def test_a_form_has_the_templates_fields_in_their_order(save, runs):
    folder = save("pt", visual=False, name="wic", template="sentence1: {sentence1} sentence2: {sentence2} word: {word}",
                  labels={"0": "false", "1": "true"}, protocol="as_published")  # fmt: skip
    [loaded] = runs(folder)
    assert loaded.fields == ["sentence1", "sentence2", "word"]


@pytest.mark.parametrize(("task", "template", "values"), [
    ("wsc.fixed", "text: {text}", {"text": "a * circle * on the # ground #"}),
    ("record", "record query: {query} entities: {entities} passage: {passage}",
     {"query": "what", "entities": "red, blue", "passage": "the star"}),
])  # fmt: skip
def test_a_form_takes_what_stands_in_the_prompt(save, runs, task, template, values):
    """Tasks whose rows have other fields than their template."""
    labels = {"no": "False", "yes": "True"} if task == "wsc.fixed" else {}
    [loaded] = runs(save("pt", visual=False, name=f"superglue-{task}", template=template, labels=labels,
                         protocol="as_published"))  # fmt: skip
    assert row_for(loaded, None, values).source == template.format(**values)
    assert ask_all([loaded], None, values, blind=False)[0].answers


def test_the_parts_are_of_the_adapters_own_answer(save, runs, pictures):
    [loaded] = runs(save("dept"))
    own, drops = parts_that_mattered(loaded.model, row_for(loaded, pictures[0], QUESTION))
    assert [own.text] == loaded.model.answer(pictures[:1], [QUESTION["question"]]) and drops.shape == (4, 4)


def test_what_a_model_or_a_folder_says_is_text_and_never_html(save, runs):
    class Named(LoadedRun):
        about = "<i>dept</i>"

    loaded = runs(save("dept"))[0]
    named = Named("<script>", loaded.model, loaded.engine)
    said = Said(named, [Likely("<b>red</b>", 0.5, (1,))], None, 0.1, ["<img src=x>"])
    page = answer_cards([said], truth="<u>")
    assert not any(each in page for each in ("<script>", "<b>red", "<img", "<u>", "<i>dept"))
    assert "&lt;b&gt;red&lt;/b&gt;" in page and "50.0%" in page and "100 ms" in page
    assert "<script>" not in in_words(torch.zeros(2, 2), said.answers[0], "<script>")


@pytest.mark.parametrize(("share", "text"), [
    (1.0, "100.0%"), (0.9999, ">99.9%"), (0.5, "50.0%"), (0.0004, "<0.1%"), (0.0, "0.0%"),
])  # fmt: skip
def test_a_share_is_never_rounded_to_all_or_nothing(share, text):
    assert percent(share) == text


def test_the_part_that_mattered_is_marked_on_the_picture():
    picture = Image.new("RGB", (96, 96), (40, 40, 40))
    drops = torch.tensor([[0.0, 0.0], [6.0, -1.0]])
    shown = marked(picture, drops, 0.98)
    corners = {place: shown.getpixel(place) for place in ((20, 20), (460, 20), (20, 460), (460, 460))}
    assert corners[20, 20] == corners[460, 20] == corners[460, 460] == (40, 40, 40)
    red, green, blue = corners[20, 460]
    assert red > 150 and red > green > blue
    answer = Likely("red", 0.98, (1,))
    assert "row 2, column 1" in in_words(drops, answer, "dept")
    assert "No single part decides it." in in_words(drops / 200, answer, "dept")


def test_every_generated_text_task_has_examples_with_their_answers():
    pytest.importorskip("gradio", reason="skipped: the extra demo is not installed")
    from dept_vl.serve.demo.text_tab import example_row
    from dept_vl.tasks import TASKS
    from dept_vl.tasks.example import template_fields

    for name in TEXT_SETS:
        task = TASKS[f"shapes-{name}"]
        fields = sorted(template_fields(task.template))
        values, answer = example_row(task.name, fields, 3)
        assert list(values) == fields and all(values.values())
        assert answer in (task.label_names or values["context"])
        assert (values, answer) != example_row(task.name, fields, 4)
