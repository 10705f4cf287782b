"""The floors of the package, held by reading every import with `ast`.

A part of `dept_vl` (a top module or a subpackage) imports only from floors below its own; `registry`, which imports
nothing of the package, serves its own floor too. The root `dept_vl` re-exports from all floors, so nothing inside the
package imports it.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PARTS = (
    {"registry", "part", "batch", "linear_start", "threads", "untrusted", "embedded"},
    {"config", "metrics", "adapters", "tuning", "backbones", "vision"},
    {"tasks", "model", "methods"},
    {"data", "saved"},
    {"train"},
    {"serve"},
    {"run"},
    {"plans"},
    {"cli"},
    {"__main__"},
)
FLOOR = {part: float(floor) for floor, parts in enumerate(PARTS, start=1) for part in parts}
FLOOR["bank"] = 2.5  # of the network, apart from it for its length
GROUND = {"registry"}
MODEL_LIBRARIES = {"backbones", "vision", "tuning", "embedded", "serve"}
LAUNCHERS = {part for part in FLOOR if FLOOR[part] >= FLOOR["train"]}
HOMES = {
    "open_clip": MODEL_LIBRARIES,
    "transformers": MODEL_LIBRARIES | {"data"},
    "tokenizers": MODEL_LIBRARIES | {"data"},
    "timm": MODEL_LIBRARIES,
    "peft": MODEL_LIBRARIES,
    "bitsandbytes": MODEL_LIBRARIES,
    "lm_eval": {"serve"},
    "lmms_eval": {"serve"},
    "accelerate": LAUNCHERS,
    "deepspeed": LAUNCHERS | {"backbones"},  # which reads a weight that is kept in parts
}
EMPTY_NAMES = {"util", "utils", "helper", "helpers", "manager", "managers", "misc", "tmp"}
SCRIPT_LINES = 80


def imports(tree: ast.Module, path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) of every import in the file, also inside functions and by `import_module`."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                above = path.parent.parts[: len(path.parent.parts) - level + 1] if level else ()
                base = ".".join([*above, *([module] if module else [])])
                yield from ((node.lineno, f"{base}.{alias.name}") for alias in names)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield node.lineno, name


def refusal(part: str, name: str) -> str | None:
    """Return why `part` may not import the dotted `name`, or None where it may."""
    package, _, rest = name.partition(".")
    if package == "dept_vl":
        target = rest.partition(".")[0]
        if target not in FLOOR:
            return "takes from the root of the package, which stands above every floor"
        above, same = FLOOR[target] > FLOOR[part], FLOOR[target] == FLOOR[part]
        if above or (same and target not in {part, *GROUND}):
            return f"is on floor {FLOOR[part]} and '{target}' on floor {FLOOR[target]}: wanted a floor below"
        return None
    if part not in HOMES.get(package, FLOOR):
        return f"may not import {package}: wanted only in {', '.join(sorted(HOMES[package]))}"
    if package == "transformers" and part == "data" and "Tokenizer" not in rest:
        return "takes only tokenizers, by name, from transformers"
    return None


def package_violations(path: Path, source: str) -> Iterator[str]:
    """Yield what a module of the package does against its floor; `path` is relative to the repository."""
    tree = ast.parse(source, filename=str(path))
    part = Path(path.parts[1]).stem
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print" and part != "cli":
            yield f"{path}:{node.lineno} prints: printing belongs to scripts"
    if part == "__init__":
        return
    if part not in FLOOR:
        yield f"{path}: '{part}' has no floor: give it one in the design and in this test"
        return
    for line, name in imports(tree, path):
        if reason := refusal(part, name):
            yield f"{path}:{line} imports {name}: '{part}' {reason}"


def script_violations(path: Path, source: str) -> Iterator[str]:
    """Yield what a script does against its floor: it is short and reaches libraries through dept_vl."""
    length = len(source.splitlines())
    if length > SCRIPT_LINES:
        yield f"{path}: {length} lines: wanted at most {SCRIPT_LINES}"
    for line, name in imports(ast.parse(source, filename=str(path)), path):
        library = name.partition(".")[0]
        if library in HOMES:
            yield f"{path}:{line} imports {name}: a script reaches {library} through dept_vl"


def violations(root: Path) -> list[str]:
    """Return every breach below `root`, a folder laid out as this repository."""
    found = []
    for folder in ("dept_vl", "scripts", "tests", "benchmarks"):
        for file in sorted((root / folder).rglob("*.py")):
            path, source = file.relative_to(root), file.read_text(encoding="utf-8")
            if empty := EMPTY_NAMES & set(path.stem.split("_")):
                found.append(f"{path}: '{empty.pop()}' names no subject")
            if folder == "dept_vl":
                found.extend(package_violations(path, source))
            elif folder == "scripts":
                found.extend(script_violations(path, source))
    return found


def test_the_repository_keeps_its_floors() -> None:
    assert violations(REPOSITORY) == []


def classes_named_twice(root: Path) -> dict[str, list[str]]:
    """Public classes of the package whose name another one has, with their files."""
    places: dict[str, list[str]] = {}
    for file in sorted((root / "dept_vl").rglob("*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(str(file.relative_to(root)))
    return {name: files for name, files in places.items() if len(files) > 1}


def test_a_class_has_a_name_of_its_own(tmp_path) -> None:
    assert classes_named_twice(REPOSITORY) == {}
    for folder in ("one", "two"):
        (tmp_path / "dept_vl" / folder).mkdir(parents=True)
        (tmp_path / "dept_vl" / folder / "file.py").write_text("class Row: ...\nclass _Own: ...\n", encoding="utf-8")
    assert classes_named_twice(tmp_path) == {"Row": ["dept_vl/one/file.py", "dept_vl/two/file.py"]}


BAD_MODULES = {
    "upwards": ("dept_vl/adapters/dept.py", "from dept_vl.model import Network", "floor below"),
    "upwards, by name": ("dept_vl/tasks/vqa.py", "from dept_vl import serve", "imports dept_vl.serve"),
    "upwards, relative": ("dept_vl/tasks/vqa.py", "from ..data.coco import read", "imports dept_vl.data.coco"),
    "upwards, in a function": ("dept_vl/model.py", "def f():\n    import dept_vl.train", "model.py:2 imports"),
    "upwards, dynamic": ("dept_vl/model.py", "importlib.import_module('dept_vl.train')", "imports dept_vl.train"),
    "sideways": ("dept_vl/vision/clip.py", "from dept_vl.adapters import DePT", "'adapters' on floor 2"),
    "sideways, floor 3": ("dept_vl/model.py", "import dept_vl.tasks.vqa", "'tasks' on floor 3"),
    "sideways, floor 4": ("dept_vl/saved/card.py", "from ..data import coco", "'data' on floor 4"),
    "sideways, floor 1": ("dept_vl/registry.py", "import dept_vl.config", "'config' on floor 2"),
    "the root": ("dept_vl/data/vqa2.py", "from dept_vl import __version__", "root of the package"),
    "no floor": ("dept_vl/extra.py", "", "'extra' has no floor"),
    "transformers": ("dept_vl/model.py", "from transformers import T5Config", "may not import transformers"),
    "more than a tokenizer": ("dept_vl/data/collate.py", "from transformers import T5Config", "only tokenizers"),
    "open_clip": ("dept_vl/data/images.py", "import open_clip", "may not import open_clip"),
    "accelerate": ("dept_vl/model.py", "from accelerate import Accelerator", "may not import accelerate"),
    "print": ("dept_vl/train/loop.py", "print('step')", "loop.py:1 prints"),
    "long script": ("scripts/train.py", "\n" * 81, "81 lines: wanted at most 80"),
    "script with a library": ("scripts/train.py", "import transformers", "through dept_vl"),
    "name without a subject": ("dept_vl/vision/image_utils.py", "", "'utils' names no subject"),
    "test without a subject": ("tests/helpers.py", "", "'helpers' names no subject"),
}


@pytest.mark.parametrize(("file", "source", "message"), BAD_MODULES.values(), ids=BAD_MODULES)
def test_a_bad_module_is_found(tmp_path: Path, file: str, source: str, message: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(source, encoding="utf-8")
    found = violations(tmp_path)
    assert len(found) == 1
    assert message in found[0]


GOOD_MODULES = {
    "downwards": ("dept_vl/model.py", "from dept_vl.adapters import DePT\nimport torch, dept_vl.registry"),
    "same package": ("dept_vl/adapters/dept.py", "from .base import Adapter\nfrom dept_vl.adapters import base"),
    "ground": ("dept_vl/config/parse.py", "from dept_vl.registry import did_you_mean"),
    "launcher": (
        "dept_vl/train/loop.py",
        "from dept_vl.train.evaluate import predict\nfrom accelerate import Accelerator",
    ),
    "tokenizer": ("dept_vl/data/collate.py", "from transformers import PreTrainedTokenizerBase"),
    "command line": ("dept_vl/cli/train.py", "from dept_vl.run import run\nprint(1)"),
    "root": ("dept_vl/__init__.py", "from dept_vl.serve import AdaptedModel"),
    "script": ("scripts/train.py", "import torch\nfrom dept_vl.train import train\nprint(1)"),
}


@pytest.mark.parametrize(("file", "source"), GOOD_MODULES.values(), ids=GOOD_MODULES)
def test_a_good_module_passes(tmp_path: Path, file: str, source: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(source, encoding="utf-8")
    assert violations(tmp_path) == []
