"""What a run does to its folder and to an earlier run in it, and when it refuses."""

import dataclasses
import types
from unittest import mock

import pytest
import torch

from dept_vl.config import BadConfig
from dept_vl.data.sources import EmptySplit
from dept_vl.embedded.shapes import write_shapes
from dept_vl.run import Parts, training_batches
from dept_vl.run.execute import OccupiedFolder, prepare_folder, run
from dept_vl.train.resumable import BadCheckpoint
from tests.tiny_runs import encode, forget_accelerate, toy_examples

pytestmark = pytest.mark.usefixtures("afresh")


def test_a_second_run_moves_the_first_aside_and_gives_its_bytes_again(experiment, tmp_path):
    torch.manual_seed(1)
    run(experiment(eval_steps=0, max_steps=3))
    forget_accelerate()
    torch.manual_seed(2)
    run(experiment(eval_steps=0, max_steps=3))
    first, second = tmp_path / "run.1", tmp_path / "run"
    for name in ("adapter_model.safetensors", "predictions.jsonl"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    forget_accelerate()
    run(experiment(eval_steps=0, max_steps=3, seed=4))
    assert (tmp_path / "run.2" / "results.json").exists()
    other = (second / "adapter_model.safetensors").read_bytes()
    assert other != (first / "adapter_model.safetensors").read_bytes()


def test_a_folder_of_other_files_is_refused_and_left_alone(experiment, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(OccupiedFolder, match="run: wanted an empty folder or an earlier run, given other files"):
        run(experiment())
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]


def test_an_empty_folder_is_used_and_a_resumed_one_stays(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    prepare_folder(folder, resumed=False)
    (folder / "config.yaml").write_text("seed: 1\n")
    prepare_folder(folder, resumed=True)
    assert (folder / "config.yaml").exists() and not (tmp_path / "run.1").exists()
    assert prepare_folder(folder, resumed=False) == tmp_path / "run.1"
    assert (tmp_path / "run.1" / "config.yaml").exists() and not any(folder.iterdir())


ARGUMENTS = {"num_virtual_tokens": 3, "r": 2, "max_length": 16}
BROKEN = {
    "rank 0": ({"adapter": {"args": ARGUMENTS | {"r": 0}}}, ValueError, "wanted r to be an integer >= 1, given 0"),
    "negative tokens": (
        {"adapter": {"args": ARGUMENTS | {"num_virtual_tokens": -3}}},
        ValueError,
        "num_virtual_tokens.*given -3",
    ),
    "a lacking size": ({"adapter": {"args": {"r": 2}}}, ValueError, "given no num_virtual_tokens"),
    "another adapter": ({"adapter": {"name": "dep"}}, ValueError, "unknown adapter 'dep'.*Did you mean 'dept'"),
    "another task": ({"task": {"name": "vqe"}}, ValueError, "unknown task 'vqe'.*Did you mean 'vqa'"),
    "a template": ({"task": {"template": "vqa"}}, ValueError, "wanted the field {question} and no other"),
}


@pytest.mark.parametrize(("changes", "error", "message"), BROKEN.values(), ids=BROKEN)
def test_impossible_settings_stop_before_anything_is_written(experiment, tmp_path, changes, error, message):
    config = experiment()
    for part, fields in changes.items():
        config = dataclasses.replace(config, **{part: dataclasses.replace(getattr(config, part), **fields)})
    with pytest.raises(error, match=message):
        run(config)
    assert not (tmp_path / "run").exists()


def test_data_that_cannot_be_read_leave_the_earlier_run_where_it_was(experiment, place, tmp_path):
    run(experiment(max_steps=1, eval_steps=0))
    before = (tmp_path / "run" / "results.json").read_bytes()
    for changes, error, message in (
        ({"task": {"root": str(tmp_path / "nowhere")}}, ValueError, "nowhere: wanted a folder laid out"),
        ({"task": {"test_split": "tset"}}, ValueError, "Did you mean 'test'"),
        ({"vision": {"layer": 9}}, ValueError, "layer: wanted -5 to 4"),
    ):
        forget_accelerate()
        with pytest.raises(error, match=message):
            run(experiment(max_steps=1, eval_steps=0, **changes))
        assert (tmp_path / "run" / "results.json").read_bytes() == before and not (tmp_path / "run.1").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("last", "run.checkpoints: wanted a checkpoint to resume from, given none"),
        ("runs/other/step_3", "wanted a checkpoint folder or 'last', given 'runs/other/step_3'"),
    ],
)
def test_nothing_to_resume_from_is_told_before_anything_is_written(experiment, tmp_path, given, message):
    with pytest.raises(BadCheckpoint, match=message):
        run(experiment(resume_from_checkpoint=given))
    assert not (tmp_path / "run").exists()


def test_trackers_start_in_the_new_folder(experiment, tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("seed: 1\n")
    seen = []

    def note(accelerator, name, config):
        seen.append((name, config["seed"], config["optim.lr.prompt"]))
        (tmp_path / "run" / "events").write_text("")  # as tensorboard does

    monkeypatch.setattr("accelerate.Accelerator.init_trackers", note)
    run(experiment(max_steps=1, eval_steps=0))
    assert seen == [("dept_vl", 3, 0.05)] and (tmp_path / "run" / "events").exists()
    assert [path.name for path in (tmp_path / "run.1").iterdir()] == ["config.yaml"]


def test_an_unknown_metric_names_those_there_are(experiment):
    with pytest.raises(BadConfig, match="metric_for_best_model: wanted one of vqa_accuracy, .* given 'accuracy'"):
        run(experiment(metric_for_best_model="accuracy"))


def test_an_empty_split_is_refused(experiment, place, tmp_path):
    root = write_shapes(tmp_path / "no_val", sizes={"train": 2, "test": 2}, questions_per_image=1)
    with pytest.raises(EmptySplit, match="at least one example in split 'val', given none"):
        run(experiment(task={"root": str(root)}))


def test_generated_tasks_mix_lengths_in_their_batches_and_others_pad_less(experiment, byte_t5):
    encoded = encode(byte_t5, toy_examples(8))[1]

    def step(**changes) -> int:
        config = experiment(**changes)
        alone = types.SimpleNamespace(num_processes=1, process_index=0)
        parts = mock.Mock(spec=Parts, config=config, accelerator=alone, encoded={"train": encoded}, gather=None)
        return training_batches(parts).length_step

    assert step() == 2 and step(task={"root": "shapes"}) == 8
    assert step(length_step=5) == step(task={"root": "shapes"}, length_step=5) == 5
    with pytest.raises(BadConfig, match="length_step: wanted at least 1, given 0"):
        experiment(length_step=0)
