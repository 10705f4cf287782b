"""lm-evaluation-harness: on a local task its score is that of `dept-vl evaluate` for the same prompt."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("lm_eval", reason="the extra lm-eval is not installed")

import yaml
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model
from lm_eval.tasks import TaskManager

from dept_vl.run.saved import score_adapter
from dept_vl.serve.plugins.lm_eval_model import AdapterLM

ROOT = Path(__file__).resolve().parents[3]
TEXTS = [
    f"{first} {second} {third}"
    for first in ("a red", "how many", "where is the", "what size is")
    for second in ("circle", "big square", "star")
    for third in ("on the left", "above", "?")
]
FREE = {
    "output_type": "generate_until",
    "generation_kwargs": {"until": ["\n"], "do_sample": False},
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
}
CHOICE = {
    "output_type": "multiple_choice",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}
pytestmark = [
    pytest.mark.usefixtures("afresh"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"),
]


@pytest.fixture
def own(t5_folder, causal_folders, save_text):
    """An adapter of random weights for a text task of one's own; its folder and its frozen model's."""

    def own(kind, **task):
        model = t5_folder if kind == "seq2seq" else causal_folders[kind]
        facts = {"name": "own_text", "template": "{source}", "protocol": "own_splits", "labels": {}, **task}
        return save_text(model, kind="seq2seq" if kind == "seq2seq" else "causal", **facts), model

    return own


def write_task(folder, rows, task, cue=""):
    """A task of the harness over a local file; `rows` are pairs of a source and a target."""
    folder.mkdir(exist_ok=True)
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps({"source": source, "target": target}) + "\n" for source, target in rows))
    about = {
        "task": "local", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(file)}},
        "test_split": "test", "doc_to_text": f"{{{{source}}}}{cue}", "doc_to_target": "target", **task,
    }  # fmt: skip
    (folder / "local.yaml").write_text(yaml.safe_dump(about))
    return file


def harness(folder, model):
    found = simple_evaluate(
        model=model, tasks=["local"], task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        bootstrap_iters=0, log_samples=True,
    )  # fmt: skip
    return found["results"]["local"], found["samples"]["local"]


@pytest.mark.parametrize("kind", ["seq2seq", "gpt2"])
def test_exact_match_is_that_of_evaluate(own, kind, tmp_path):
    folder, frozen = own(kind)
    cue = "" if kind == "seq2seq" else " Label :"
    model = AdapterLM(str(folder), str(frozen), batch_size=5, device="cpu")
    answers = model.generate_until([_request(text + cue) for text in TEXTS])
    assert len(set(answers)) > 5
    targets = [answer if place % 3 else "green" for place, answer in enumerate(answers)]
    file = write_task(tmp_path / "task", list(zip(TEXTS, targets, strict=True)), FREE, cue)
    given = {"root": str(file), "split": "all", "decoding": "generate", "backbone": str(frozen)}
    ours = score_adapter(str(folder), "own_text", **given)
    theirs, samples = harness(tmp_path / "task", model)
    assert theirs["exact_match,none"] == pytest.approx(ours["exact_match"]) and 0.6 < ours["exact_match"] < 0.8
    assert [sample["resps"][0][0] for sample in samples] == answers


def _request(text, **settings):
    return Instance("generate_until", {}, (text, settings), 0)


@pytest.mark.parametrize("kind", ["seq2seq", "llama"])
def test_the_choice_among_labels_of_one_token_is_that_of_evaluate(own, kind, tmp_path):
    cue = "" if kind == "seq2seq" else " Label :"
    labels = balanced(AdapterLM(*map(str, own(kind)), device="cpu"), [text + cue for text in TEXTS])
    folder, frozen = own(kind, labels={each: each for each in labels})
    rows = [(text, labels[place % 2]) for place, text in enumerate(TEXTS)]
    file = write_task(tmp_path / "task", rows, {**CHOICE, "doc_to_choice": labels}, cue)
    written = tmp_path / "predictions.jsonl"
    given = {"root": str(file), "split": "all", "backbone": str(frozen), "predictions": str(written)}
    ours = score_adapter(str(folder), "own_text", **given)
    theirs, samples = harness(tmp_path / "task", AdapterLM(str(folder), str(frozen), batch_size=7, device="cpu"))
    assert theirs["acc,none"] == pytest.approx(ours["accuracy"])
    lines = sorted(map(json.loads, written.read_text().splitlines()), key=lambda line: int(line["id"].split("-")[1]))
    chosen = [line["prediction"] for line in lines]
    assert {*chosen} == {*labels}, "a constant predictor: the comparison is empty"
    likely = [max(zip(_nats(each), labels, strict=True))[1] for each in samples]
    assert likely == chosen


def balanced(model, texts):
    """The two words of some between which the texts differ most."""
    words = ["red", "green", "blue", "circle", "star", "on", "two", "big", "yes", "no"]
    pairs = [Instance("loglikelihood", {}, (text, f" {word}"), 0) for text in texts for word in words]
    nats = torch.tensor([each for each, _ in model.loglikelihood(pairs)]).reshape(len(texts), -1)
    wins = (nats[:, :, None] > nats[:, None, :]).float().mean(0)  # how often the first beats the second
    first, second = divmod(int((wins - 0.5).abs().fill_diagonal_(1).argmin()), len(words))
    return [words[first], words[second]]


def _nats(sample):
    return [float(each[0][0]) for each in sample["resps"]]


@pytest.mark.parametrize("kind", ["seq2seq", "gpt2", "llama"])
def test_a_whole_text_s_likelihood_is_the_sum_over_its_tokens(own, kind):
    folder, frozen = own(kind)
    model = AdapterLM(str(folder), str(frozen), device="cpu")
    text = " ".join(TEXTS[:4])
    rolling = Instance("loglikelihood_rolling", {}, (text,), 0)
    pair = Instance("loglikelihood", {}, ("", text), 0)
    [whole] = model.loglikelihood_rolling([rolling])
    assert whole == pytest.approx(model.loglikelihood([pair])[0][0], abs=1e-3) and whole < -10
    assert model._window == {"seq2seq": 2048, "gpt2": 93, "llama": 93}[kind]


def test_a_long_text_is_read_in_windows(own):
    folder, frozen = own("gpt2")
    model = AdapterLM(str(folder), str(frozen), device="cpu")
    long = " ".join(TEXTS)  # of more tokens than GPT-2 here has positions
    short = " ".join(TEXTS[:4])
    found = model.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, (each,), 0) for each in (short, long)])
    assert found[1] < found[0] < 0
    assert found[0] == pytest.approx(model.loglikelihood_rolling([Instance("", {}, (short,), 0)])[0], abs=1e-3)


def test_what_ends_an_answer_and_its_length_are_the_task_s(own):
    folder, frozen = own("gpt2")
    model = AdapterLM(str(folder), str(frozen), device="cpu")
    [whole] = model.generate_until([_request(TEXTS[0])])
    words = whole.split()
    assert len(words) == 5 == model.prompted.facts["max_target_length"]
    asked = [
        _request(TEXTS[0], until=[words[2]]),
        _request(TEXTS[0], max_gen_toks=2),
        _request(TEXTS[0], until=words[1]),
    ]
    stop = words.index(words[2])
    assert model.generate_until(asked) == [
        " ".join(words[:stop]), " ".join(words[:2]), " ".join(words[: words.index(words[1])])
    ]  # fmt: skip


def test_the_class_is_registered_and_the_bare_model_is_another(own):
    assert get_model("dept_vl") is AdapterLM
    folder, frozen = own("seq2seq")
    given = f"adapter={folder},backbone={frozen}"
    pair = Instance("loglikelihood", {}, ("a red circle", " yes"), 0)
    scores = [
        AdapterLM.create_from_arg_string(words, {"batch_size": 4, "device": "cpu"}).loglikelihood([pair])[0][0]
        for words in (given, f"{given},bare=true")
    ]
    assert scores[0] != scores[1]


@pytest.mark.slow  # the harness's command starts for many seconds
def test_the_documented_command_scores_a_local_task(own, tmp_path):
    folder, frozen = own("seq2seq")
    write_task(tmp_path / "task", [(text, "green") for text in TEXTS[:3]], FREE)
    words = [
        "run", "--model", "dept_vl", "--model_args", f"adapter={folder},backbone={frozen}", "--tasks", "local",
        "--include_path", tmp_path / "task", "--device", "cpu",
    ]  # fmt: skip
    command = [sys.executable, "-m", "dept_vl.serve.plugins.lm_eval_model", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "exact_match" in done.stdout
