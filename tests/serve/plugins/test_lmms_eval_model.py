"""lmms-eval: on a local VQA task its score is that of `dept-vl evaluate`, in the simple and in the chat form."""

import json
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

pytest.importorskip("lmms_eval.evaluator", reason="lmms-eval is not installed, or not whole", exc_type=ImportError)

from lmms_eval import evaluator
from lmms_eval.api.instance import Instance
from lmms_eval.models.registry_v2 import ModelRegistryV2
from lmms_eval.tasks import TaskManager

from dept_vl.run.saved import score_adapter
from dept_vl.serve.plugins.lmms_eval_model import SUFFIX, AdapterChat, AdapterSimple, manifest
from dept_vl.serve.plugins.prompts import Prompted
from dept_vl.serve.rows import WrongRows

ROOT = Path(__file__).resolve().parents[3]
QUESTIONS = ["what color is the circle ?", "how many red", "is there a star ?", "what shape", "where is the big one"]
FUNCTIONS = """
import statistics
from PIL import Image
from lmms_eval.tasks._task_utils.vqa_eval_metric import EvalAIAnswerProcessor

def picture(doc):
    return [Image.open(doc["image"])]

def question(doc, lmms_eval_specific_kwargs=None):
    return doc["question"] + "\\nAnswer the question using a single word or phrase."

def score(doc, results):
    normal = EvalAIAnswerProcessor()
    answers, given = [normal(each) for each in doc["answers"]], normal(results[0])
    left = [answers[:place] + answers[place + 1 :] for place in range(len(answers))]
    return {"vqa": statistics.mean(min(1, each.count(given) / 3) for each in left)}
"""
TASK = """
task: local_vqa
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
test_split: test
output_type: generate_until
doc_to_visual: !function functions.picture
doc_to_text: !function functions.question
doc_to_target: question
process_results: !function functions.score
generation_kwargs: {max_new_tokens: 16}
metric_list: [{metric: vqa, aggregation: mean, higher_is_better: true}]
"""
pytestmark = [pytest.mark.usefixtures("afresh"), pytest.mark.filterwarnings("ignore:(?s).*:Warning")]


@pytest.fixture(autouse=True)
def any_filelock(monkeypatch):
    """lmms-eval 0.7.3 patches a module of filelock 3, which filelock 4 has not."""
    monkeypatch.setattr(evaluator, "_enable_reentrant_filelocks", lambda: None)


@pytest.fixture
def folders(save, t5_folder, clip_folder):
    return {"adapter": save("dept"), "backbone": t5_folder, "vision": f"local-dir:{clip_folder}"}


def write_task(folder, pictures, answers):
    """`answers` of each picture and question; the file of the rows."""
    folder.mkdir()
    rows = []
    for place, (picture, answer) in enumerate(zip(pictures, answers, strict=True)):
        picture.save(folder / f"{place}.png")
        said = [answer] * (10 - 2 * place) + ["green"] * 2 * place  # from all to none of ten people
        question = QUESTIONS[place % len(QUESTIONS)]
        rows.append({"image": str(folder / f"{place}.png"), "question": question, "answers": said})
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "functions.py").write_text(FUNCTIONS)
    (folder / "local_vqa.yaml").write_text(TASK.replace("FILE", str(file)))
    return file


def harness(folder, model):
    manager = TaskManager("ERROR", include_path=str(folder), include_defaults=False, model_name="dept_vl")
    found = evaluator.simple_evaluate(
        model, tasks=["local_vqa"], task_manager=manager, bootstrap_iters=0, verbosity="ERROR"
    )
    return found["results"]["local_vqa"], [each["resps"] for each in found["samples"]["local_vqa"]]


def test_the_score_is_that_of_evaluate(folders, load, pictures, tmp_path):
    given = {name: str(value) for name, value in folders.items()}
    asked = [QUESTIONS[place % len(QUESTIONS)] for place in range(len(pictures))]
    answers = load(folders["adapter"]).answer(pictures, asked)
    file = write_task(tmp_path / "task", pictures, answers)
    ours = score_adapter(given["adapter"], "vqa", root=str(file), split="all", backbone=given["backbone"])
    assert 0.4 < ours["vqa_accuracy"] < 0.9
    for form in (AdapterSimple, AdapterChat):
        theirs, said = harness(tmp_path / "task", form(**given, batch_size=4, device="cpu"))
        assert theirs["vqa,none"] == pytest.approx(ours["vqa_accuracy"])
        assert [each[0][0] if isinstance(each[0], list) else each[0] for each in said] == answers


def test_the_entry_point_gives_both_forms():
    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["lmms_eval.models"]
    module, _, function = named["dept_vl"].partition(":")
    registry = ModelRegistryV2()
    registry.register_manifest(getattr(import_module(module), function)())
    assert registry.get_model_class("dept_vl") is AdapterChat
    assert registry.get_model_class("dept_vl", force_simple=True) is AdapterSimple
    assert manifest().model_id == "dept_vl"


def test_the_suffix_is_taken_off_and_several_pictures_are_refused(folders, pictures, monkeypatch):
    model = AdapterSimple(**{name: str(value) for name, value in folders.items()}, device="cpu", batch_size="auto")
    model.task_dict = {"t": {"test": [{"n": 1}, {"n": 2}]}}

    def request(text, doc):
        arguments = (text, {"until": "\n"}, lambda doc: pictures[: doc["n"]], doc, "t", "test")
        return Instance("generate_until", arguments, 0, {"task": "t", "doc_id": doc, "repeats": 1})

    asked = []
    monkeypatch.setattr(model.adapted, "answer", lambda pictures, texts: asked.append(texts) or ["yes\nno"])
    assert model.generate_until([request(f"{QUESTIONS[0]}\n{SUFFIX}", 0)]) == ["yes"]
    assert asked == [[QUESTIONS[0]]]
    with pytest.raises(WrongRows, match="wanted one picture a question, given 2"):
        model.generate_until([request("a", 1)])
    with pytest.raises(ValueError, match=r"model_args: wanted adapter, .*given \['adaptor'\]"):
        AdapterSimple(str(folders["adapter"]), adaptor="x")
    with pytest.raises(NotImplementedError, match="several rounds"):
        model.generate_until_multi_round([])


def test_a_space_at_the_end_of_a_text_is_read_once(folders, monkeypatch):
    """A decoder-only model's answer begins with it, so the text must not end with it, too."""
    model = AdapterSimple(**{name: str(value) for name, value in folders.items()}, device="cpu")
    model.task_dict = {"t": {"test": [{}]}}
    read = []
    monkeypatch.setattr(Prompted, "prompts", lambda self, texts, pictures: read.extend(texts))
    monkeypatch.setattr(Prompted, "likelihoods", lambda self, prompts, answers: [(0.0, True)])
    arguments = ("Answer: ", "yes", lambda doc: [], 0, "t", "test")
    model.loglikelihood([Instance("loglikelihood", arguments, 0, {"task": "t", "doc_id": 0, "repeats": 1})])
    assert read == ["Answer:"]
