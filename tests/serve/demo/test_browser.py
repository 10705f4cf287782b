"""The page in a real browser: what a person does on it, at both widths, light and dark, and with the keyboard alone.

Needs the Python package playwright and a Chromium of the system (`apt-get install chromium`). With
DEPT_VL_SCREENSHOTS=FOLDER the pictures of the page stay there.
"""

import os
import re
import shutil
from pathlib import Path

import pytest
import torch

from dept_vl.adapters import build_adapter
from dept_vl.backbones import load_backbone
from dept_vl.saved import ModelFacts, save_adapter
from dept_vl.serve.demo.runs import load_runs
from dept_vl.vision import FrozenClip, VisualProjection
from tests.tiny_models import paint

pytestmark = pytest.mark.slow
pytest.importorskip("gradio", reason="skipped: the extra demo is not installed")
browsers = pytest.importorskip("playwright.sync_api", reason="skipped: playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
TASKS = {"dept": ("vqa", "vqa: {question}"), "none": ("vqa", "vqa: {question}"), "pt": ("caption", "caption:")}
RTE = {"name": "shapes-rte", "template": "premise: {premise} hypothesis: {hypothesis}", "protocol": "own_splits",
       "labels": {"0": "not_entailment", "1": "entailment"}}  # fmt: skip
ARGUMENTS = {"dept": {"num_virtual_tokens": 4, "r": 2, "max_length": 16}, "none": {}, "pt": {"num_virtual_tokens": 4}}
WAIT = 60_000  # milliseconds
FOCUSED = """() => {
  const own = document.activeElement;
  return (own.tagName == "INPUT" ? own.closest("label")?.innerText : own.innerText) || own.tagName;
}"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The page over adapters of random weights beside the embedded models: what they say means nothing."""
    from dept_vl.serve.demo.page import build_page, open_page

    root = tmp_path_factory.mktemp("runs")
    backbone = load_backbone("tiny-t5")
    clip = FrozenClip.load("tiny-clip", layer=4, pooling="none", resize="squash")
    for method, (name, template) in TASKS.items():
        task = {"name": name, "template": template, "protocol": "official-2021" if name == "vqa" else "coco-caption"}
        _save(root / f"{name}_{method}", method, backbone, clip, task)
    _save(root / "rte", "pt", backbone, None, RTE)
    (root / "vqa_dept" / "report.html").write_text("<h1>Run</h1><p>97.8</p><script>document.title = 'x'</script>")
    page = build_page(load_runs([root], say=lambda line: None))
    yield open_page(page, "127.0.0.1", _free_port(), browser=False)
    page.close()


def _save(folder, method, backbone, clip, task):
    generator = torch.Generator().manual_seed(1)
    table = backbone.embedding_table
    parts = {"adapter": build_adapter(method, table, ARGUMENTS[method], generator)}
    if clip is not None:
        parts["projection"] = VisualProjection(clip.width, backbone.d_model, clip.num_patches, generator)
    facts = {"labels": {}, "max_source_length": 48, "max_target_length": 6, "num_beams": 1, "pad_token": None}
    identity = None if clip is None else clip.identity()
    save_adapter(folder, parts, backbone_identity=backbone.identity(), vision_identity=identity, task=facts | task,
                 card=ModelFacts(folder.name))  # fmt: skip


def _free_port():
    import socket

    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return own.getsockname()[1]


@pytest.fixture(scope="module")
def chromium():
    if CHROMIUM is None:
        pytest.skip("skipped: no chromium on this machine")
    with browsers.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, address, tmp_path):
    """Open the page at a size and in a color scheme. Whatever it asks of another host is an error, as are errors in its
    scripts, and words or boxes that reach beyond the screen's width."""
    opened, strangers, errors = [], [], []

    def visit(size=WIDE, scheme="light"):
        context = chromium.new_context(viewport=size, color_scheme=scheme)
        page = context.new_page()
        page.set_default_timeout(WAIT)
        page.on("request", lambda each: strangers.append(each.url) if not _ours(each.url, address) else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        page.get_by_role("button", name="Ask", exact=True).first.wait_for()
        opened.append((page, context))
        return page

    yield visit
    for page, context in opened:
        assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"], "sideways"
        context.close()
    assert (strangers, errors) == ([], [])


def _ours(url, address):
    return url.startswith((address.rstrip("/"), address.replace("http", "ws").rstrip("/"), "data:", "blob:", "about:"))


def shoot(page, name):
    if folder := os.environ.get("DEPT_VL_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def answers(page):
    """The adapters that have answered."""
    page.locator(".answers li").first.wait_for()
    return page.locator(".answers .who b").all_inner_texts()


def ask(page):
    page.get_by_role("button", name="Ask", exact=True).first.click()
    page.locator(".answers li").first.wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_an_example_is_asked_by_one_click_and_its_parts_are_shown(visit, size, scheme):
    page = visit(size, scheme)
    name = f"{'wide' if size is WIDE else 'narrow'}-{scheme}"
    shoot(page, f"{name}-1-first")
    page.get_by_role("button", name=re.compile("^How many")).click()
    assert answers(page) == ["caption_pt", "vqa_dept", "vqa_none"]
    assert page.locator(".answers .blind").count() == 3
    assert page.get_by_text("The right answer is").is_visible()
    page.get_by_role("button", name="Cover each part in turn").click()
    page.get_by_text("Each part of the picture was covered").wait_for()
    shoot(page, f"{name}-2-answers")


def test_a_thing_is_drawn_and_another_adapter_chosen(visit):
    page = visit()
    before = page.locator(".picture img").get_attribute("src")
    page.get_by_role("radio", name="bottom right").check()
    page.get_by_role("radio", name="cross").check()
    page.wait_for_function("before => document.querySelector('.picture img').src !== before", arg=before)
    page.get_by_role("radio", name="purple").check()
    page.get_by_label("Question").fill("Is there a purple cross?")
    page.get_by_role("checkbox", name=re.compile("vqa_none")).uncheck()
    page.get_by_role("checkbox", name=re.compile("caption_pt")).uncheck()
    ask(page)
    assert answers(page) == ["vqa_dept"]
    page.get_by_role("checkbox", name=re.compile("vqa_dept")).uncheck()
    page.get_by_role("checkbox", name=re.compile("vqa_none")).check()
    page.get_by_role("button", name="Ask", exact=True).first.click()
    page.locator(".answers .who", has_text="vqa_none").wait_for()
    assert answers(page) == ["vqa_none"]


def test_a_click_in_the_picture_chooses_its_cell(visit):
    page = visit()
    box = page.locator(".picture img").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2 - box["height"] / 3, box["y"] + 5 * box["height"] / 6)
    page.wait_for_function("() => document.querySelectorAll('.cells input')[6].checked")


def test_a_file_is_asked_about_and_an_unreadable_one_is_one_plain_sentence(visit, tmp_path):
    page = visit(NARROW)
    paint(2).save(tmp_path / "quarters.png")
    (tmp_path / "notes.png").write_text("no picture")
    page.get_by_role("tab", name="Use a file").click()
    page.locator("input[type=file]").first.set_input_files(tmp_path / "quarters.png")
    page.get_by_text("quarters.png, 48 x 40 pixels.").wait_for()
    ask(page)
    assert page.get_by_text("The right answer is").count() == 0
    page.locator("input[type=file]").first.set_input_files(tmp_path / "notes.png")
    page.get_by_text(re.compile("^notes.png cannot be read as a picture: .*[.]$")).wait_for()
    shoot(page, "narrow-light-3-unreadable")


def test_the_keyboard_alone_is_enough(visit):
    page = visit()

    def tab_to(words, most=60):
        """Press Tab until what has the focus, or the label around it, has these words."""
        reached = []
        for _ in range(most):
            page.keyboard.press("Tab")
            reached.append(page.evaluate(FOCUSED))
            if words in reached[-1]:
                return
        raise AssertionError(f"Tab does not reach {words!r}, but {reached}")

    before = page.locator(".picture img").get_attribute("src")
    tab_to("bottom right")
    page.keyboard.press("Space")
    tab_to("cross")
    page.keyboard.press("Space")
    page.wait_for_function("before => document.querySelector('.picture img').src !== before", arg=before)
    tab_to("How many")
    page.keyboard.press("Enter")
    assert answers(page)
    tab_to("Cover each part in turn")
    page.keyboard.press("Enter")
    page.get_by_text("Each part of the picture was covered").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_text_task_has_a_form_of_its_fields(visit, scheme):
    page = visit(NARROW if scheme == "dark" else WIDE, scheme)
    page.get_by_role("tab", name="shapes-rte").click()
    page.get_by_label("hypothesis").wait_for()
    page.get_by_role("button", name="Another example").click()
    page.locator(".answers ul:visible").wait_for()
    assert page.get_by_text(re.compile("^The right answer is (not_)?entailment")).is_visible()
    page.get_by_label("premise").fill(" ")
    page.get_by_role("button", name="Ask", exact=True).locator("visible=true").click()
    page.get_by_text("Fill in premise first.").wait_for()
    shoot(page, f"text-{scheme}")


def test_the_report_stands_in_a_frame_that_runs_nothing(visit):
    page = visit()
    page.get_by_role("tab", name="Report").click()
    frame = page.frame_locator("iframe.report")
    frame.get_by_text("97.8").wait_for()
    assert page.locator("iframe.report").get_attribute("sandbox") == ""
    shoot(page, "wide-light-4-report")
