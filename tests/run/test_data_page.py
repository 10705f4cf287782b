"""Look before you train: the lines and the page about a data set, read as a browser would."""

import dataclasses
import gzip
import json
import shutil
from html.parser import HTMLParser

import pytest

from dept_vl.config import BackboneConfig, Experiment, TaskConfig
from dept_vl.data.batches import EncodedExamples
from dept_vl.data.guess import guess_task
from dept_vl.data.tokenizer import load_tokenizer
from dept_vl.run import data_page
from dept_vl.run.data_page import as_lines, as_page, count_lines, load_roles, look, look_at, proposal
from dept_vl.untrusted.bad_file import BadFile
from tests.data.test_chat import CHATML, byte_level

HOSTILE = '<script>alert("x")</script>\'"><img src=x onerror=alert(1)>&amp;'
ROLES = ("train", "val", "test")


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of styles."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(source)
        self.close()
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += f" {data} "


def text_look(path, tokenizer, **task):
    config = Experiment(task=TaskConfig(name="own_text", root=str(path), **task))
    config, built, loaded = load_roles(config, ROLES)
    sizes = {"max_source_length": config.task.max_source_length, "max_target_length": config.task.max_target_length}
    return look(path.name, built, loaded, tokenizer, kind="seq2seq", **sizes)


@pytest.fixture(scope="module")
def tokenizer(byte_t5):
    return load_tokenizer(str(byte_t5))


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def films(number):
    return [{"text": f"a film, number {place}", "label": ["bad", "good"][place % 2]} for place in range(number)]


def test_lines_say_what_was_understood_and_propose_lengths(tmp_path, tokenizer):
    long = "it was as good as a very long answer can be"
    rows = [*films(40), {"text": "what then?", "label": long}]
    found = text_look(write(tmp_path / "films.jsonl", rows), tokenizer, max_source_length=6, max_target_length=8)
    lines = as_lines(found)
    assert lines[0] == "films.jsonl: own_text, scored by exact_match"
    assert any("'text' is the source, 'label' is the target" in line for line in lines)
    [train] = [line for line in lines if line.startswith("train: source tokens: 50 % ")]
    longest = max(len(tokenizer(row["text"])["input_ids"]) for row in rows)
    assert f"longest {longest}; max_source_length 6 cuts 3" in train and " of 33, " in train
    assert proposal(found, "source") >= longest and proposal(found, "target") >= len(tokenizer(long)["input_ids"])
    [cut] = [line for line in lines if line.startswith("answers that would be cut: 1 ")]
    assert long in cut and not any("pictures" in line for line in lines)


def test_few_answers_that_come_often_are_proposed_as_labels(tmp_path, tokenizer):
    found = text_look(write(tmp_path / "films.jsonl", films(40)), tokenizer)
    assert found.labels == ("bad", "good") and as_lines(found)[-1].endswith("""--task.labels '["bad", "good"]'""")
    assert text_look(tmp_path / "films.jsonl", tokenizer, labels=("bad", "good")).labels == ()
    rows = [{"text": f"{n}", "label": f"answer {n}"} for n in range(12)]
    assert text_look(write(tmp_path / "free.jsonl", rows), tokenizer).labels == ()


def test_the_page_is_one_escaped_file_with_five_examples(tmp_path, tokenizer):
    rows = [{"text": f"{HOSTILE} {place}", "label": HOSTILE, "split": ROLES[place % 3]} for place in range(30)]
    rows += [{"text": "twice", "label": "x", "split": role} for role in ROLES]
    found = text_look(write(tmp_path / "films.jsonl", rows), tokenizer, max_target_length=4)
    source = as_page(found)
    page = Page(source)
    assert not {"script", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") for _, given in page.tags for name in given)
    assert all(
        value.startswith("data:") for _, given in page.tags for name, value in given.items() if name in ("src", "href")
    )
    assert sum(given.get("class") == "sample" for tag, given in page.tags if tag == "li") == 5
    assert HOSTILE in page.text and "default-src 'none'" in source
    assert (
        "1 of 11 rows of val stand in train too" in page.text and "1 of 11 rows of test stand in train too" in page.text
    )
    assert f"--task.max_target_length {proposal(found, 'target')}" in page.text
    assert "Answers that would be cut" in page.text and page.open == []


def test_pictures_stand_in_the_page_and_unreadable_ones_are_named(place, tmp_path, byte_t5):
    root = shutil.copytree(place / "shapes", tmp_path / "shapes")
    config = Experiment(task=TaskConfig(root=str(root)))
    config = dataclasses.replace(config, backbone=dataclasses.replace(config.backbone, model_name_or_path=str(byte_t5)))
    config, task, loaded = load_roles(config, ROLES)
    assert task.headline == "vqa_accuracy" and config.task.score == "auto"
    images = sorted(loaded["test"].image_paths.items())
    images[0][1].write_bytes(images[0][1].read_bytes()[:200])
    shutil.copy(next(iter(loaded["train"].image_paths.values())), images[1][1])
    found = look_at(config, task, loaded)
    assert list(found.unreadable) == [images[0][0]] and "wanted " in found.unreadable[images[0][0]]
    assert [pair[1] for pair in found.twice] == [f"test: {images[1][0]}"]
    lines = as_lines(found)
    assert lines[1 : 1 + len(ROLES)] == count_lines(loaded)
    [pictures] = [line for line in lines if line.startswith("pictures: ")]
    assert f"1 unreadable (decoded whole)\n  {images[0][0]}: " in pictures
    page = Page(as_page(found))
    shown = [given["src"] for tag, given in page.tags if tag == "img"]
    assert len(shown) >= 4 and all(each.startswith("data:image/jpeg;base64,") for each in shown)
    assert images[0][0] in page.text and "pictures stand on two sides" in page.text
    assert "Scored against" in page.text


@pytest.mark.parametrize(
    ("row", "task"),
    [
        ({"text": "a", "label": "b"}, "own_text"), ({"image": "a.jpg", "question": "b", "answer": "c"}, "vqa"),
        ({"image_path": "a.jpg", "caption": "b"}, "caption"), ({"image": "a.jpg", "conversations": []}, "vqa"),
        ({"file_name": "a.jpg", "text": "b"}, "caption"), ({"question": "a", "answer": "b"}, "own_text"),
        ({"image": "a.jpg", "query": "b", "label": "c"}, "vqa"), ({"images": ["a.jpg"], "texts": []}, "vqa"),
        ({"image": "a.jpg", "question": "b"}, "vqa"), ({"url": "https://x.org", "text": "b", "label": "c"}, "own_text"),
        ({"path": "a.PNG", "text": "b"}, "caption"),
    ],
)  # fmt: skip
def test_the_task_is_guessed_by_the_columns(tmp_path, row, task):
    (tmp_path / "folder").mkdir()
    assert guess_task(write(tmp_path / "own.jsonl", [row])) == task
    assert guess_task(write(tmp_path / "folder" / "train.jsonl", [row]).parent) == task
    (tmp_path / "pictures").mkdir()
    assert guess_task(tmp_path / "pictures") == "caption"


@pytest.mark.parametrize("place", ["data/train.jsonl", "train/metadata.jsonl", "train.jsonl.gz", "train.jsonl"])
@pytest.mark.parametrize(
    ("row", "task"),
    [({"file_name": "a.jpg", "question": "b", "answer": "c"}, "vqa"), ({"text": "a", "label": "b"}, "own_text")],
)
def test_the_task_of_a_folder_is_that_of_its_first_table(tmp_path, place, row, task):
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    data = (json.dumps(row) + "\n").encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    assert guess_task(tmp_path) == task


def test_the_task_of_a_recipe_of_official_files_and_of_texts_beside_others(tmp_path, place):
    assert guess_task(f"vizwiz:{tmp_path}") == "vqa" and guess_task(place / "shapes") == "vqa"
    write(tmp_path / "train.jsonl", films(2))
    write(tmp_path / "more.jsonl", films(2))
    assert guess_task(tmp_path) == "own_text"


def test_a_file_of_short_lines_alone_is_refused_by_name(tmp_path):
    path = tmp_path / "short.csv"
    path.write_text("text,label\nalone\n")
    with pytest.raises(BadFile, match="short.csv"):
        guess_task(path)


@pytest.mark.parametrize(("settings", "kind"), [({}, "causal"), ({"chat_template": True}, "chat")])
def test_lengths_are_those_that_training_reads(place, monkeypatch, settings, kind):
    """The template of a chat model counts, a question about a picture has its own cue, a .gguf file its own name."""
    tokenizer, names = byte_level(CHATML), []
    monkeypatch.setattr(data_page, "load_tokenizer", lambda name, *_: names.append(name) or tokenizer)
    backbone = BackboneConfig(model_name_or_path="folder", gguf_file="a.gguf", kind="causal", **settings)
    task = TaskConfig(root=str(place / "shapes"), max_source_length=500)
    config, task, loaded = load_roles(Experiment(task=task, backbone=backbone), ["test"])
    sizes = {"max_source_length": 500, "max_target_length": 40}
    read = EncodedExamples(loaded["test"].examples, tokenizer, kind=kind, own_cue=True, **sizes)
    found = look_at(config, task, loaded).lengths["test", "source"]
    assert found.longest == read.source_lengths.max() and names == ["folder/a.gguf"]
