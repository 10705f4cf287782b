"""Files and flags to an `Experiment`: files merge from left to right, then flags; the unknown is refused by name."""

import dataclasses
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, get_args

from jsonargparse import ActionConfigFile, ArgumentParser, Namespace

from dept_vl.config.schema import BadConfig, Experiment
from dept_vl.registry import did_you_mean
from dept_vl.untrusted.yaml_text import NotYaml, parse_yaml

ALIASES = {
    "--task": "--task.name",
    "--generate": "--task.decoding=generate",
    "--init_from": "--adapter.init_from",
    "--k_shot": "--task.k_shot",
    "--k_shot_total": "--task.k_shot_total",
    "--protocol": "--task.protocol",
}
"""Short spellings of flags that are typed often."""


class _Parser(ArgumentParser):
    """jsonargparse, with a suggestion behind a flag that it does not know."""

    def error(self, message: str, *args: Any, **kwargs: Any) -> NoReturn:
        unknown = re.search(r"unrecognized arguments: --([\w.]+)", message)
        hint = did_you_mean(unknown[1], [action.dest for action in self._actions]) if unknown else ""
        super().error(message + hint, *args, **kwargs)


def build_parser(description: str, defaults: Sequence[Path]) -> ArgumentParser:
    """A parser for `Experiment`. `defaults` are the files that stand in when no --config is given."""
    names = ", ".join(path.as_posix() for path in defaults)
    parser = _Parser(
        description=f"{description} With no --config: {names}.",
        allow_abbrev=False,
        usage="%(prog)s [--config FILE ...] [--key value ...] (--help explains the keys, --print_config the result)",
    )
    parser.add_argument("--config", action=ActionConfigFile, help="a YAML file; several merge from left to right")
    parser.add_class_arguments(Experiment)
    return parser


def parse_experiment(
    argv: Sequence[str] | None, *, description: str, defaults: Sequence[Path], overrides: Sequence[str] = ()
) -> Experiment:
    """argv (None: the command line) to an Experiment. `overrides` are flags that stand before the user's.

    Raises:
        SystemExit: with the reason on stderr, for unknown keys and flags, values of the wrong type, impossible sizes
            and contradictions; after --help and --print_config.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    flags, files = _split_config_flags(argv)
    files = files or [str(path) for path in defaults]
    argv = [*(word for path in files for word in ("--config", path)), *flags]
    parser = build_parser(description, defaults)
    try:
        for path in files:
            _check_file(Path(path))
        return to_experiment(parser, parser.parse_args([*overrides, *_spell_out(argv)]))
    except BadConfig as error:
        parser.error(str(error))


def _spell_out(argv: Sequence[str]) -> list[str]:
    """`--bf16` alone is `--bf16 true`, as transformers' flags are; aliases become what they stand for."""
    argv = [ALIASES.get(flag, flag) + equals + value for flag, equals, value in (word.partition("=") for word in argv)]
    switches = {"--" + name for name in _switches(Experiment, "")}
    following = [*argv[1:], "--"]
    return [
        word for flag, after in zip(argv, following, strict=True)
        for word in ((flag, "true") if flag in switches and after.startswith("--") else (flag,))
    ]  # fmt: skip


def _switches(config: type, prefix: str) -> Iterator[str]:
    for field in dataclasses.fields(config):
        if dataclasses.is_dataclass(field.type):
            yield from _switches(field.type, f"{prefix}{field.name}.")
        elif field.type is bool:
            yield prefix + field.name


def _split_config_flags(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The flags without --config, which win wherever they stand, and the files that --config names, in their order. A
    --config without a value is left to the parser."""
    flags: list[str] = []
    files: list[str] = []
    words = iter(argv)
    for word in words:
        if word.startswith("--config="):
            files.append(word.partition("=")[2])
        elif word == "--config" and (value := next(words, None)) is not None:
            files.append(value)
        else:
            flags.append(word)
    return flags, files


def to_experiment(parser: ArgumentParser, parsed: Namespace) -> Experiment:
    fields = {field.name for field in dataclasses.fields(Experiment)}
    _refuse_nulls(Experiment, parsed, "")
    built = parser.instantiate(parsed)
    return Experiment(**{name: value for name, value in vars(built).items() if name in fields})


def _refuse_nulls(config: type, given: Namespace, group: str) -> None:
    """jsonargparse takes null for anything. Raises: BadConfig for a field that cannot be null."""
    for field in dataclasses.fields(config):
        value = given[field.name]
        if dataclasses.is_dataclass(field.type):
            _refuse_nulls(field.type, value, f"{group}{field.name}.")
        elif value is None and type(None) not in get_args(field.type):
            told = str(field.type).removeprefix("typing.") if get_args(field.type) else field.type.__name__
            raise BadConfig(f"{group}{field.name}: wanted {told}, given null")


def load_experiment(path: Path) -> Experiment:
    """The experiment of a run folder's config.yaml.

    Raises:
        BadConfig: the file is cut short or has unknown keys.
    """
    try:
        content = parse_yaml(path.read_bytes())
        parser = build_parser("", [])
        parser.exit_on_error = False
        return to_experiment(parser, parser.parse_object(content))
    except FileNotFoundError:
        raise
    except Exception as error:
        raise BadConfig(f"{path}: wanted the config.yaml of a run, given something else ({error})") from error


def _check_file(path: Path) -> None:
    """Raises: BadConfig naming the file and every key that no field has."""
    try:
        content = parse_yaml(path.read_bytes())
    except OSError as error:
        raise BadConfig(f"{path}: wanted a YAML file, given none ({error.strerror})") from error
    except NotYaml as error:
        raise BadConfig(f"{path}: wanted YAML, given {error}") from error
    _check_keys(path, Experiment, content, "")


def _check_keys(path: Path, config: type, content: Any, group: str) -> None:
    fields = {field.name: field for field in dataclasses.fields(config)}
    if not isinstance(content, dict):
        raise BadConfig(f"{path}: wanted {group.rstrip('.') or 'the file'} to hold keys and values, given {content!r}")
    for key, value in content.items():
        if key not in fields:
            hint = did_you_mean(str(key), fields)
            raise BadConfig(f"{path}: unknown key {group}{key}, wanted one of {', '.join(fields)}.{hint}")
        if dataclasses.is_dataclass(fields[key].type):
            _check_keys(path, fields[key].type, value, f"{group}{key}.")
