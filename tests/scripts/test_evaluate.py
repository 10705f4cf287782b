"""scripts/evaluate.py as a user runs it: one JSON object on stdout, everything else on stderr."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "evaluate.py"
SHARED = ROOT.parent / "shared"


def evaluate_apart(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, as a user's."""
    command = [sys.executable, SCRIPT, *map(str, arguments)]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "PYTHONPATH": path, **environment}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


@pytest.fixture
def evaluate(capfd, monkeypatch):
    """In this process, what is written to the file descriptors caught: torch is not imported anew."""

    def evaluate(*arguments: object) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
        capfd.readouterr()
        status = 0
        try:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        except SystemExit as left:
            status = left.code or 0
            if isinstance(status, str):  # as the interpreter does with a message
                print(status, file=sys.stderr)
                status = 1
        return subprocess.CompletedProcess(sys.argv, status, *capfd.readouterr())

    return evaluate


def write(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value))
    return path


@pytest.fixture
def caption(tmp_path) -> list[object]:
    captions = {7: ["A brown dog runs.", "a dog"], 8: ["Two cats on a table.", "cats"], 9: ["a red bus"]}
    rows = [(image, text) for image, texts in captions.items() for text in texts]
    annotations = [{"image_id": image, "id": i, "caption": text} for i, (image, text) in enumerate(rows)]
    document = {"images": [{"id": image} for image in captions], "annotations": annotations}
    results = [{"image_id": image, "caption": texts[0]} for image, texts in captions.items()]
    return [
        *("--results", write(tmp_path / "R.json", results)),
        *("--annotations", write(tmp_path / "C.json", document)),
    ]


@pytest.fixture
def vqa(tmp_path) -> list[object]:
    row = {
        "question_id": 1,
        "question_type": "is",
        "answer_type": "yes/no",
        "answers": [{"answer": "two"}] * 10,
    }
    return [
        *("--results", write(tmp_path / "R.json", [{"question_id": 1, "answer": "2"}])),
        *("--questions", write(tmp_path / "Q.json", {"questions": [{"question_id": 1}]})),
        *("--annotations", write(tmp_path / "A.json", {"annotations": [row]})),
    ]


@pytest.mark.usefixtures("meteor_at_once")
def test_caption_prints_one_json_object_of_flat_fractions(evaluate, caption):
    done = evaluate("caption", *caption)
    assert done.returncode == 0, done.stderr
    score = json.loads(done.stdout)
    assert {"Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "METEOR", "ROUGE_L", "CIDEr"} <= set(score)
    assert score["METEOR"] == pytest.approx(1.0) and score["tokenizer"] == "ptb"


@pytest.mark.parametrize(("protocol", "accuracy"), [(None, 0.0), ("official-2017", 0.0), ("always", 1.0)])
def test_vqa_prints_one_json_object_under_the_named_protocol(evaluate, protocol, accuracy, vqa):
    done = evaluate("vqa", *vqa, *(["--protocol", protocol] if protocol else []))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert json.loads(done.stdout) == {
        "vqa_accuracy": accuracy,
        "protocol": protocol or "official-2021",
        "by_answer_type": {"yes/no": accuracy},
        "by_question_type": {"is": accuracy},
    }


def test_of_several_processes_the_first_prints(evaluate, vqa, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert evaluate("vqa", *vqa).stdout == ""
    monkeypatch.setenv("RANK", "0")
    assert json.loads(evaluate("vqa", *vqa).stdout)


def test_what_a_library_or_its_program_prints_goes_to_stderr(vqa, tmp_path):
    chatty = tmp_path / "sitecustomize.py"
    chatty.write_text(
        "import os, dept_vl.metrics as m\n"
        "quiet = m.score_vqa_files\n"
        "def loud(*a, **k):\n"
        "    print('from python'); os.system('echo from a program'); return {'given': a or k['protocol']}\n"
        "m.score_vqa_files = loud\n"
        "loud.__doc__, loud.__wrapped__ = quiet.__doc__, quiet\n"
    )
    done = evaluate_apart("vqa", *vqa, PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"given": "official-2021"}
    assert "from python" in done.stderr and "from a program" in done.stderr


def test_an_error_is_one_line_on_stderr_and_nothing_on_stdout(evaluate, vqa, tmp_path):
    (tmp_path / "R.json").write_text('[{"question_id": 1, "ans')
    done = evaluate("vqa", *vqa)
    assert done.returncode == 1 and done.stdout == ""
    wanted = f"evaluate.py: error: {tmp_path / 'R.json'}: wanted a whole JSON file, given one cut or broken"
    assert done.stderr.startswith(wanted) and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "{vqa,caption,own,adapter}"),
        (["cqa"], "cqa"),
        (["vqa"], "required: results"),
        (["vqa", "--reslts", "r"], "Did you mean 'results'?"),
        (
            ["vqa", "--results", "r", "--questions", "q", "--annotations", "a", "--protocol", "2021"],
            "official-2021",
        ),
    ],
)
def test_bad_flags_are_refused_with_status_2(evaluate, arguments, message):
    done = evaluate(*arguments)
    assert done.returncode == 2 and done.stdout == "" and message in done.stderr


def test_a_predictions_file_is_scored_against_a_file_of_ones_own(evaluate, tmp_path):
    (tmp_path / "films.csv").write_text("text,label\na dull film,bad\na nice film,good\nso so,bad\n")
    answers = ["bad", "bad", "bad"]
    rows = [{"id": f"films-{place}", "prediction": answer} for place, answer in enumerate(answers)]
    files = ["--results", write(tmp_path / "p.json", rows), "--root", tmp_path / "films.csv", "--task", "own_text"]
    done = evaluate("own", *files, "--labels", '["bad", "good"]', "--columns", '{"source": "text"}')
    assert done.returncode == 0, done.stderr
    scored = json.loads(done.stdout)
    assert scored["accuracy"] == pytest.approx(2 / 3) and scored["reported"] == "accuracy" and scored["split"] == "all"
    assert json.loads(evaluate("own", *files).stdout)["exact_match"] == pytest.approx(2 / 3)
    done = evaluate("own", *files, "--columns", '{"source": "txt"}')
    assert done.returncode == 1 and "wanted the column 'txt' that --columns.source names" in done.stderr
    assert done.stderr.count("\n") == 1


def test_advice_names_the_flags_of_this_command(evaluate, tmp_path):
    (tmp_path / "films.csv").write_text("review,stars\na dull film,bad\na nice film,good\n")
    predictions = write(tmp_path / "p.json", [{"id": f"films-{place}", "prediction": "bad"} for place in (0, 1)])
    files = ["--results", predictions, "--root", tmp_path / "films.csv", "--task", "own_text"]
    done = evaluate("own", *files)
    assert "--columns.source NAME" in done.stderr and "task.columns" not in done.stderr
    done = evaluate("own", *files, "--columns.source", "review", "--columns.target", "stars")
    assert done.returncode == 0, done.stderr


def test_help_explains_every_flag(evaluate):
    done = evaluate("vqa", "--help")
    assert done.returncode == 0
    for word in ("--results", "--questions", "--annotations", "--protocol", "official-2017", "VL-T5"):
        assert word in done.stdout


def test_real_answers_score_as_with_the_official_evaluator(evaluate, tmp_path):
    real = SHARED / "realdata" / "vqa2_text"
    if not real.exists():
        pytest.skip("skipped: no ../shared/realdata/vqa2_text")
    import gzip

    annotations = json.loads(gzip.decompress((real / "vqa_annotations_test.json.gz").read_bytes()))["annotations"]
    results = [{"question_id": row["question_id"], "answer": row["multiple_choice_answer"]} for row in annotations]
    files = [f"--{name}={real / f'vqa_{name}_test.json.gz'}" for name in ("questions", "annotations")]
    done = evaluate("vqa", "--results", write(tmp_path / "R.json", results), *files)
    assert f"{100 * json.loads(done.stdout)['vqa_accuracy']:.6f}" == "96.742066"
