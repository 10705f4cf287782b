"""Files and flags to one typed experiment, and what is said when they do not make one."""

import dataclasses
import inspect
import json
import re
from pathlib import Path

import pytest
import yaml

from dept_vl.adapters import ADAPTERS
from dept_vl.config import BadConfig, Experiment, config_files, load_experiment, parse_experiment
from dept_vl.run import check
from tests.toy_arguments import with_sources

DEFAULTS = config_files("backbones/tiny.yaml", "tasks/vqa_shapes.yaml", "adapters/dept.yaml")


def parse(*argv: object) -> Experiment:
    return parse_experiment([*map(str, argv)], description="Trains.", defaults=DEFAULTS)


@pytest.fixture
def refused(capsys):
    """refused(*argv): what is said on stderr, in one line, when the flags are refused."""

    def refuse(*argv: object) -> str:
        with pytest.raises(SystemExit) as stop:
            parse(*argv)
        assert stop.value.code == 2
        return " ".join(capsys.readouterr().err.split())

    return refuse


@pytest.fixture
def write(tmp_path):
    def write(name: str, content: object) -> Path:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return path

    return write


def fields(config: type = Experiment, group: str = ""):
    """(dotted name, description from the docstring) of every setting."""
    about = dict(re.findall(r"^ {4}(\w+): ((?:.|\n {8})+)", inspect.getdoc(config), re.MULTILINE))
    for field in dataclasses.fields(config):
        if dataclasses.is_dataclass(field.type):
            yield from fields(field.type, f"{group}{field.name}.")
        else:
            yield group + field.name, about[field.name]


def test_without_files_the_defaults_stand_in():
    config = parse()
    assert (config.backbone.model_name_or_path, config.task.name, config.adapter.name) == ("tiny-t5", "vqa", "dept")


def test_files_merge_from_left_to_right(write):
    one = write("one.yaml", {"max_steps": 5, "seed": 1, "adapter": {"name": "pt", "args": {"num_virtual_tokens": 3}}})
    two = write("two.yaml", {"max_steps": 7, "adapter": {"args": {"num_virtual_tokens": 4}}})
    config = parse("--config", one, f"--config={two}")
    assert (config.max_steps, config.seed, config.adapter.name, config.adapter.args) == (
        7, 1, "pt", {"num_virtual_tokens": 4},
    )  # fmt: skip
    assert parse("--config", two, "--config", one).max_steps == 5
    assert parse("--config", two).task == Experiment().task, "the defaults do not stand in beside files"


def test_flags_come_after_files(write):
    file = write("one.yaml", {"max_steps": 5, "vision": {"layer": 3}})
    config = parse("--config", file, "--max_steps", 6, "--vision.layer", 2, "--bf16", "true", "--task.template", "null")
    assert (config.max_steps, config.vision.layer, config.bf16, config.task.template) == (6, 2, True, None)


def test_flags_win_wherever_they_stand(write):
    one, two = write("one.yaml", {"max_steps": 5, "seed": 1}), write("two.yaml", {"max_steps": 7})
    config = parse("--seed", 3, "--config", one, "--max_steps", 9, f"--config={two}")
    assert (config.seed, config.max_steps) == (3, 9)


def test_another_adapters_name_brings_its_own_arguments_and_on_the_defaults_its_rates(write):
    config, own = parse("--adapter.name", "residual_pt"), config_files("adapters/residual_pt.yaml")[0]
    assert config.adapter.args == {
        "num_virtual_tokens": 20,
        "bottleneck": 64,
    }  # of the default files: the prompt's length
    assert config.optim.lr == yaml.safe_load(own.read_text())["optim"]["lr"]
    assert (
        parse("--adapter.name=pt", "--adapter.args.num_virtual_tokens", 3, "--optim.lr.prompt", 1).optim.lr["prompt"]
        == 1
    )
    mine = write("mine.yaml", {"adapter": {"name": "dpt", "args": {"num_virtual_tokens": 4, "r": 3}}})
    later = write("later.yaml", {"adapter": {"name": "residual_pt"}})
    for argv in (("--config", later), ("--adapter.name", "residual_pt"), ("--adapter", '{"name": "residual_pt"}')):
        config = parse("--config", mine, *argv)
        assert config.adapter.args == {"num_virtual_tokens": 4, "bottleneck": 64}
        assert config.optim.lr == Experiment().optim.lr, "rates beside files stay"
    assert parse("--config", mine, "--config", later, "--config", mine).adapter.args["r"] == 3


def test_arguments_that_were_given_stay_whatever_the_method(write):
    mine = write("mine.yaml", {"adapter": {"args": {"num_virtual_tokens": 4, "r": 3}}})
    assert parse("--config", DEFAULTS[2], "--config", mine, "--adapter.name", "dpt").adapter.args["r"] == 3
    assert parse("--adapter.name", "pt", "--adapter.args.r", 3).adapter.args == {"num_virtual_tokens": 20, "r": 3}
    assert parse("--adapter.name", "dept").adapter.args == parse().adapter.args


@pytest.mark.parametrize("name", ADAPTERS)
def test_every_adapter_has_arguments_of_its_own_in_configs(name, tmp_path):
    """`check` builds it from them: what its constructor asks for is there."""
    config = parse("--adapter.name", name)
    assert config.adapter.name == name
    check(with_sources(config, tmp_path))


def test_flags_override_single_learning_rates(write):
    file = write("one.yaml", {"optim": {"lr": {"prompt": 0.5, "low_rank": 0.25, "projection": 0.125}}})
    assert parse("--config", file, "--optim.lr.prompt", 1).optim.lr == {
        "prompt": 1.0, "low_rank": 0.25, "projection": 0.125
    }  # fmt: skip
    assert parse("--config", file, "--optim.lr", "{projection: 2}").optim.lr == {"projection": 2.0}


def test_the_command_line_is_read_when_no_arguments_are_given(monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.py", "--max_steps", "3"])
    assert parse_experiment(None, description="Trains.", defaults=DEFAULTS).max_steps == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("max_step: 3", "unknown key max_step, wanted one of output_dir, seed, .* Did you mean 'max_steps'?"),
        ("adapter: {arg: {r: 8}}", "unknown key adapter.arg, wanted one of .* Did you mean 'args'?"),
        ("task: {zzz: 8}", "unknown key task.zzz, wanted one of name, .*num_fewshot."),
        ("adapter: dept", "wanted adapter to hold keys and values, given 'dept'"),
        ("", "wanted the file to hold keys and values, given None"),
        ("adapter: {name: [dept", "wanted YAML, given something else (while parsing a flow "),
        ("\0", "wanted YAML, given something else ("),
    ],
)
def test_a_bad_file_is_named_with_what_was_wanted(content, message, write, refused):
    file = write("bad.yaml", content)
    said = refused("--config", DEFAULTS[0], "--config", file)
    wanted = ".*".join(map(re.escape, f"error: {file}: {message}".split(".*")))
    assert re.search(wanted, said), said


def test_an_absent_file_is_named(refused, tmp_path):
    said = refused("--config", tmp_path / "none.yaml")
    assert f"{tmp_path / 'none.yaml'}: wanted a YAML file, given none (No such file or directory)" in said


@pytest.mark.parametrize(
    ("flag", "meant"),
    [("--max_stepz", "max_steps"), ("--adapter.nme", "adapter.name"), ("--task.rot", "task.root")],
)
def test_an_unknown_flag_gets_a_suggestion(flag, meant, refused):
    assert f"unrecognized arguments: {flag} 3 Did you mean '{meant}'?" in refused(flag, 3)


@pytest.mark.parametrize("flag", ["--max_step", "--out", "--optim.weight", "--adapter.na"])
def test_abbreviated_flags_are_refused(flag, refused):
    assert f"unrecognized arguments: {flag}" in refused(flag, 3)


@pytest.mark.parametrize(
    ("flag", "least"),
    [
        *((name, 1) for name in ("per_device_train_batch_size", "per_device_eval_batch_size",
                                 "gradient_accumulation_steps", "logging_steps", "save_total_limit", "num_threads",
                                 "ddp_timeout")),
        *((name, 0) for name in ("max_steps", "eval_steps", "save_steps", "dataloader_num_workers")),
        *((f"task.{name}", 2) for name in ("max_source_length", "max_target_length")),
        *((f"task.{name}", 1) for name in ("num_beams", "max_train_samples", "max_eval_samples", "max_test_samples")),
        *((f"task.{name}", 1) for name in ("k_shot", "k_shot_total")),
        *((f"task.{name}", 0) for name in ("draw", "num_fewshot")),
        *((f"vision.{name}", 1) for name in ("batch_size", "pool_size")),
        ("vision.num_workers", 0),
    ],
)  # fmt: skip
def test_sizes_below_the_least_are_refused(flag, least, refused):
    for value in (least - 1, -7):
        assert f"{flag}: wanted at least {least}, given {value}" in refused(f"--{flag}", value)
    parse(f"--{flag}", least)


@pytest.mark.parametrize("value", [-0.1, "nan"])
def test_a_learning_rate_below_0_is_refused(value, refused):
    shown = ".nan" if value == "nan" else value
    assert f"optim.lr.low_rank: wanted at least 0, given {value}" in refused("--optim.lr.low_rank", shown)


@pytest.mark.parametrize(
    ("flag", "value", "wanted"),
    [
        ("weight_decay", "-1", "at least 0"),
        ("eps", "0", "more than 0"),
        ("betas", "[0.9, 1.0]", "from 0 to below 1"),
        ("max_grad_norm", "-1", "more than 0, or null"),
        ("warmup_steps", "99999", "fewer than max_steps="),
    ],
)
def test_an_impossible_optimizer_is_refused(flag, value, wanted, refused):
    said = refused(f"--optim.{flag}", value)
    assert f"optim.{flag}: wanted" in said and wanted in said


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        ("max_steps", "int"), ("adapter.name", "str"), ("optim.betas", r"tuple\[float, float\]"),
        ("bf16", r"Union\[bool, .*'auto'\]\]"),
        ("task.decoding", r"Literal\['score', 'generate'\]"),
    ],
)  # fmt: skip
def test_null_is_refused_where_it_means_nothing(key, wanted, refused, write):
    *group, name = key.split(".")
    content = {group[0]: {name: None}} if group else {name: None}
    assert re.search(rf"{key}: wanted {wanted}, given null", refused("--config", write("null.yaml", content)))
    if key != "adapter.name":  # the word null is a name like any other
        assert re.search("(Got|Given) value: None", refused(f"--{key}", "null"))


def test_an_unknown_schedule_is_refused(refused):
    assert "lr_scheduler_type" in refused("--optim.lr_scheduler_type", "cosine")


@pytest.mark.parametrize("argv", [["--bf16"], ["--bf16", "--seed", "3"], ["--seed", "3", "--bf16"], ["--bf16", "true"]])
def test_a_switch_needs_no_value(argv):
    assert parse(*argv).bf16 is True
    assert parse("--bf16", "false").bf16 is False and parse("--backbone.dropout").backbone.dropout is True


def test_fp16_is_unknown_and_bf16_suggested(refused):
    message = refused("--fp16", "true")
    assert "--fp16" in message and "Did you mean 'bf16'" in message


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--max_steps", "many"], "Parser key \"max_steps\": Expected a <class 'int'>. Got value: many"),
        (["--vision.pooling", "mean"], 'Parser key "vision.pooling": Expected a .*none.*max.*stack.* Got value: mean'),
        (["--task.root"], "argument --task.root: expected one argument"),
        (["--config"], "argument --config: expected one argument"),
        (["--adapter", "{name: pt"], "adapter.*name: pt"),
    ],
)
def test_values_of_the_wrong_kind_are_refused(argv, message, refused):
    assert re.search(message, refused(*argv))


def test_help_explains_every_field(capsys):
    with pytest.raises(SystemExit) as stop:
        parse("--help")
    assert stop.value.code == 0
    said = re.sub(r"\s", "", capsys.readouterr().out)
    explained = dict(fields())
    assert len(explained) > 50
    for name, about in explained.items():
        assert f"--{name}" in said and re.sub(r"\s", "", about.strip().rstrip(".")) in said, name
    for path in DEFAULTS:
        assert path.as_posix() in said


def test_help_shows_the_defaults_of_what_would_run(capsys, write):
    def default_of(name: str, *argv: object) -> str:
        with pytest.raises(SystemExit):
            parse(*argv, "--help")
        return re.search(rf"--{name} .*?default: (.*?)\)", " ".join(capsys.readouterr().out.split()))[1]

    assert default_of("max_steps") == str(parse().max_steps) != str(Experiment().max_steps)
    assert default_of("max_steps", "--config", write("one.yaml", {"max_steps": 5})) == "5"


def test_the_printed_config_is_the_same_experiment(capsys, write):
    argv = ("--max_steps", 9, "--optim.lr.prompt", 0.5, "--adapter.args.lora_alpha", "null", "--task.num_beams", 2)
    with pytest.raises(SystemExit) as stop:
        parse(*argv, "--print_config")
    assert stop.value.code == 0
    printed = write("printed.yaml", capsys.readouterr().out)
    assert parse("--config", printed) == parse(*argv)
    assert parse("--config", printed).adapter.args["lora_alpha"] is None


def test_an_experiment_comes_back_from_a_run_folder(write):
    config = parse("--optim.betas", "[0.5, 0.25]", "--adapter.args.lora_alpha", "null", "--optim.eps", "1e-8")
    saved = write("config.yaml", json.loads(json.dumps(config.to_dict())))
    assert load_experiment(saved) == config == parse("--config", saved)


@pytest.mark.parametrize(
    "content",
    ["max_steps: [3", "output_dir: runs/a\nsteps: 3", "adapter: {nam: pt}", "num_threads: 0", "fp16: true", "", "dept"],
)
def test_what_is_no_runs_config_is_refused_by_name(content, write):
    path = write("config.yaml", content)
    with pytest.raises(BadConfig, match=re.escape(f"{path}: wanted the config.yaml of a run, given something else (")):
        load_experiment(path)


def test_an_absent_runs_config_is_an_absent_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_experiment(tmp_path / "config.yaml")


def test_a_tower_of_several_layers_a_second_one_and_a_projection_come_from_files_and_flags(write):
    second = {"kind": "timm", "model_name": "test_vit", "layer": [0, -1], "pooling": "max", "pool_size": 3}
    file = write("two.yaml", {"vision": {"layer": [3, 4], "joined": "tokens", "second": second}})
    flags = ["--vision.projection.name", "resampler", "--vision.projection.args", "{num_queries: 4}"]
    vision = parse("--config", file, *flags, "--vision.kind", "open_clip").vision
    assert (vision.layer, vision.joined, vision.second) == ([3, 4], "tokens", second)
    assert (vision.projection.name, vision.projection.args) == ("resampler", {"num_queries": 4})
    assert (
        parse("--vision.layer", "[-1, -2]").vision.layer == [-1, -2] and parse("--vision.layer", -2).vision.layer == -2
    )
    assert (
        load_experiment(write("whole.yaml", json.loads(json.dumps(Experiment(vision=vision).to_dict())))).vision
        == vision
    )


@pytest.mark.parametrize("second", ["{kind: torchvision}", "{colour: red}", "{pool_size: many}"])
def test_a_second_tower_with_what_no_tower_has_is_refused(second, refused):
    assert "vision.second" in refused("--vision.second", second)
