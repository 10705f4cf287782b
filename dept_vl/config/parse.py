"""Files and flags to an `Experiment`: files merge from left to right, then flags; unknown keys are refused by name."""

import contextlib
import dataclasses
import functools
import glob
import itertools
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any, NoReturn, get_args

from jsonargparse import ActionConfigFile, ArgumentParser, Namespace

from dept_vl.config.schema import BadConfig, Experiment
from dept_vl.registry import did_you_mean
from dept_vl.untrusted.yaml_text import NotYaml, parse_yaml

ALIASES = {
    "--task": "--task.name",
    "--generate": "--task.decoding=generate",
    "--init_from": "--adapter.start.from",
    "--k_shot": "--task.k_shot",
    "--k_shot_total": "--task.k_shot_total",
    "--protocol": "--task.protocol",
}
"""Short spellings of flags that are typed often."""


def config_files(*names: str) -> list[Path]:
    """Paths of files below configs/, such as "adapters/dept.yaml": the wheel's, or else the checkout's."""
    package = Path(str(package_files("dept_vl")))
    folder = next((each for each in (package / "configs", package.parent / "configs") if each.is_dir()), None)
    if folder is None:
        raise FileNotFoundError(f"{package}: wanted configs/ in it or beside it, given neither: install dept_vl again")
    return [folder / name for name in names]


def find_config(path: Path) -> Path:
    """The file that a command names: itself where there is one, else that of configs/, with "configs/" in front or
    without, so that a command of the documentation needs no checkout. What neither holds comes back as given."""
    if path.exists() or path.is_absolute():
        return path
    below = path.relative_to("configs") if path.parts[:1] == ("configs",) else path
    [own] = config_files(below.as_posix())
    return own if own.is_file() else path


class PlainParser(ArgumentParser):
    """jsonargparse whose errors are one line, with a suggestion for an unknown flag."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        unknown = re.search(r"unrecognized arguments: --([\w.]+)", message)
        message += did_you_mean(unknown[1], [action.dest for action in self._actions]) if unknown else ""
        if not self.exit_on_error:
            super().error(message, ex)
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())} (--help explains the flags)\n")


def build_parser(
    description: str = "", files: Sequence[Path] = (), prog: str | None = None, *, exit_on_error: bool = True
) -> ArgumentParser:
    """The parser for `Experiment`, with the defaults of `files`, merged from left to right."""
    parser = _parser(description, prog, exit_on_error)
    parser.default_config_files = [glob.escape(str(path)) for path in files]
    return parser


@functools.cache  # a plan parses settings for every cell, and building a parser takes longer than parsing
def _parser(description: str, prog: str | None, exit_on_error: bool) -> ArgumentParser:
    parser = PlainParser(
        prog=prog,
        exit_on_error=exit_on_error,
        description=description,
        allow_abbrev=False,
        usage="%(prog)s [--config FILE ...] [--key value ...] (--help explains the keys, --print_config the result)",
    )
    parser.add_argument("--config", action=ActionConfigFile, help="a YAML file; several merge from left to right")
    parser.add_class_arguments(Experiment)
    return parser


def parse_experiment(
    argv: Sequence[str] | None,
    *,
    description: str,
    defaults: Sequence[Path],
    overrides: Sequence[str] = (),
    prog: str | None = None,
) -> Experiment:
    """argv (None: the command line) to an Experiment.

    `defaults` are the files that are used when no --config is given; `overrides` are flags that the user's replace.

    Raises:
        SystemExit: with the reason on stderr, for unknown keys and flags, values of the wrong type, impossible sizes
            and contradictions; after --help and --print_config.
    """
    flags, files = _split_config_flags(sys.argv[1:] if argv is None else argv)
    files = files or list(defaults)
    parser = build_parser(description, files, prog)
    try:
        for path in files:
            _check_file(path)
        words = _spell_out(flags, parser)
        own = _of_another_method(list(map(_read, files)), words, rates=list(files) == list(defaults))
        return to_experiment(parser, parser.parse_args([*own, *overrides, *words]))
    except BadConfig as error:
        parser.error(str(error))


def own_settings(adapter: str) -> dict[str, Any]:
    """What configs/adapters holds for an adapter, by its name; {} for one that has no file there."""
    [path] = config_files(f"adapters/{adapter}.yaml")
    content = _read(path) if adapter.isidentifier() and path.is_file() else {}
    return content if content.get("adapter", {}).get("name") == adapter else {}


def arguments_for(adapter: str, earlier: Mapping[str, Any]) -> dict[str, Any]:
    """Its arguments where an adapter's name replaces another's: its own of configs/adapters, with the `earlier` length
    of the prompt, which alone means the same in every method."""
    own = own_settings(adapter).get("adapter", {}).get("args", {})
    return {name: earlier.get(name, value) if name == "num_virtual_tokens" else value for name, value in own.items()}


def make_experiment(settings: Any) -> Experiment:
    """Nested plain settings, as in a YAML file, to an Experiment. Raises: BadConfig."""
    _check_keys(Experiment, settings, "")
    try:
        parser = build_parser(exit_on_error=False)
        return to_experiment(parser, parser.parse_object(settings))
    except Exception as error:  # jsonargparse's own and argparse's
        raise error if isinstance(error, BadConfig) else BadConfig(str(error)) from error


def given_settings(argv: Sequence[str]) -> tuple[list[Path], dict[str, Any]]:
    """The files of --config, checked, and the other flags as nested settings, without any default.

    Raises: BadConfig. SystemExit for unknown flags and values of the wrong type.
    """
    flags, files = _split_config_flags(argv)
    for path in files:
        _check_file(path)
    parser = build_parser()
    return files, parser.parse_args(_spell_out(flags, parser), defaults=False).as_dict()


def load_experiment(path: Path) -> Experiment:
    """The experiment of a run folder's config.yaml. Raises: BadConfig for a damaged file or unknown keys."""
    try:
        return make_experiment(_read(path))
    except BadConfig as error:
        raise BadConfig(f"{path}: wanted the config.yaml of a run, given something else ({error})") from error


def _spell_out(argv: Sequence[str], parser: ArgumentParser) -> list[str]:
    """Replace aliases, and `--bf16` alone by `--bf16 true`, as transformers' flags are."""
    argv = [ALIASES.get(flag, flag) + equals + value for flag, equals, value in (word.partition("=") for word in argv)]
    switches = {f"--{action.dest}" for action in parser._actions if _takes_bool(getattr(action, "_typehint", None))}
    pairs = zip(argv, [*argv[1:], "--"], strict=False)
    return [f"{word}=true" if word in switches and after.startswith("--") else word for word, after in pairs]


def _takes_bool(kind: Any) -> bool:
    return bool in (kind, *get_args(kind))


def _of_another_method(files: Sequence[Mapping[str, Any]], words: Sequence[str], *, rates: bool) -> list[str]:
    """Flags for what belongs to an adapter whose name replaces the one beside which the arguments stand, by a later
    file or a flag: its own arguments, and with `rates`, where nobody gave any, its own learning rates."""
    args: dict[str, Any] = {}
    owner: str | None = None
    found: dict[str, Any] = {}
    for given in [*(each.get("adapter", {}) for each in files), *_named_by_flags(words)]:
        if "args" in given:
            args, owner, found = given["args"], given.get("name"), {}
        elif owner is not None and given.get("name", owner) != owner:
            args, owner = arguments_for(given["name"], args), given["name"]
            own_rates = own_settings(owner).get("optim", {}).get("lr") if rates else None
            found = {"adapter.args": args} | ({"optim.lr": own_rates} if own_rates else {})
    return [f"--{key}={json.dumps(value)}" for key, value in found.items()]


def _named_by_flags(words: Sequence[str]) -> Iterator[dict[str, Any]]:
    for word, after in itertools.pairwise([*words, ""]):
        flag, equals, value = word.partition("=")
        value = value if equals else after
        if flag == "--adapter.name":
            yield {"name": value}
        elif flag == "--adapter" and value.startswith("{"):
            with contextlib.suppress(NotYaml):  # the parser says what is wrong with it
                yield dict(parse_yaml(value))


def _split_config_flags(argv: Sequence[str]) -> tuple[list[str], list[Path]]:
    """The flags without --config, which win wherever they stand, and the files in order. A --config without a value is
    left to the parser."""
    flags: list[str] = []
    files: list[Path] = []
    words = iter(argv)
    for word in words:
        if word.startswith("--config="):
            files.append(find_config(Path(word.partition("=")[2])))
        elif word == "--config" and (value := next(words, None)) is not None:
            files.append(find_config(Path(value)))
        else:
            flags.append(word)
    return flags, files


def to_experiment(parser: ArgumentParser, parsed: Namespace) -> Experiment:
    built = parser.instantiate(parsed)
    return Experiment(**{field.name: built[field.name] for field in dataclasses.fields(Experiment)})


def _read(path: Path) -> Any:
    try:
        return parse_yaml(path.read_bytes())
    except NotYaml as error:
        raise BadConfig(f"wanted YAML, given {error}") from error


def _check_file(path: Path) -> None:
    """Raises: BadConfig naming the file and a key that no field has."""
    try:
        _check_keys(Experiment, _read(path), "")
    except OSError as error:
        raise BadConfig(f"{path}: wanted a YAML file, given none ({error.strerror})") from error
    except BadConfig as error:
        raise BadConfig(f"{path}: {error}") from error


def _check_keys(config: Any, content: Any, group: str) -> None:
    """Raises: BadConfig for a key that no field has, or null where it means nothing (jsonargparse would take it)."""
    fields = {field.name: field for field in dataclasses.fields(config)}
    if not isinstance(content, dict):
        raise BadConfig(f"wanted {group.rstrip('.') or 'the file'} to hold keys and values, given {content!r}")
    for key, value in content.items():
        if key not in fields:
            hint = did_you_mean(str(key), fields)
            raise BadConfig(f"unknown key {group}{key}, wanted one of {', '.join(fields)}.{hint}")
        wanted = fields[key].type
        if dataclasses.is_dataclass(wanted):
            _check_keys(wanted, value, f"{group}{key}.")
        elif value is None and type(None) not in get_args(wanted):
            shown = str(wanted).removeprefix("typing.") if get_args(wanted) else getattr(wanted, "__name__", wanted)
            raise BadConfig(f"{group}{key}: wanted {shown}, given null")
