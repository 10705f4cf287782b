"""Nothing that is read is ever executed: the calls that could do it stand nowhere in the source."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
BUILT_IN = {"eval", "exec", "compile", "__import__"}
MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle", "code"}
NEVER = {
    "os.system", "os.popen", "yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "torch.jit.load",
    "np.load", "numpy.load", "pd.read_pickle", "subprocess.getoutput", "tarfile.open", "shutil.unpack_archive",
    "yaml.Loader", "yaml.UnsafeLoader", "yaml.FullLoader", "torch.hub.load", "torch.package.PackageImporter",
}  # fmt: skip
SURE = {"torch.load": "weights_only"}  # only with this keyword, literally True
FALSE = {"shell", "trust_remote_code", "allow_pickle"}  # keywords that are never anything but literally False


def breaches(source: str, file: str) -> Iterator[str]:
    """What in a file may execute what it reads, each with its line."""
    tree = ast.parse(source, filename=file)
    for node in ast.walk(tree):
        for found in _imported(node) | _called(node):
            yield f"{file}:{node.lineno}: {found}"


def _imported(node: ast.AST) -> set[str]:
    match node:
        case ast.Import(names=names):
            return {f"import {each.name}" for each in names if each.name.partition(".")[0] in MODULES}
        case ast.ImportFrom(module=str(module), names=names):
            taken = {f"{module}.{each.name}" for each in names}
            return {f"import {module}"} if module.partition(".")[0] in MODULES else {*taken & (NEVER | {*SURE})}
        case ast.Attribute() if ast.unparse(node) in NEVER:
            return {ast.unparse(node)}
    return set()


def _called(node: ast.AST) -> set[str]:
    if not isinstance(node, ast.Call):
        return set()
    name = ast.unparse(node.func)
    keywords = {each.arg: ast.unparse(each.value) for each in node.keywords}
    found = {name} & BUILT_IN
    if name in SURE and keywords.get(SURE[name]) != "True":
        found.add(f"{name} without {SURE[name]}=True")
    return found | {f"{name}({each}={keywords[each]})" for each in FALSE & keywords.keys() if keywords[each] != "False"}


def test_the_source_executes_nothing_that_it_reads():
    files = [file for folder in ("dept_vl", "scripts", "benchmarks") for file in (REPOSITORY / folder).rglob("*.py")]
    assert len(files) > 100
    found = [each for file in files for each in breaches(file.read_text(), str(file.relative_to(REPOSITORY)))]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "eval(text)", "exec(text)", "import pickle", "from pickle import loads", "import torch.x, dill", "os.system(x)",
        "yaml.load(text)", "yaml.load(text, Loader=yaml.SafeLoader)", "from yaml import unsafe_load", "np.load(path)",
        "torch.load(path)", "torch.load(path, weights_only=False)", "torch.load(path, weights_only=safe)",
        "from torch import load", "subprocess.run(x, shell=True)", "f(trust_remote_code=True)", "g(allow_pickle=True)",
        "AutoModel.from_pretrained(x, trust_remote_code=None)", "loader = yaml.UnsafeLoader", "torch.jit.load(path)",
    ],
)  # fmt: skip
def test_a_breach_is_found(source):
    assert len([*breaches(source, "file.py")]) == 1


@pytest.mark.parametrize(
    "source",
    [
        "network.eval()", "yaml.safe_load(text)", "torch.load(path, map_location='cpu', weights_only=True)",
        "re.compile(pattern)", "subprocess.run([x])", "f(trust_remote_code=False)", "import pickletools",
    ],
)  # fmt: skip
def test_an_innocent_line_passes(source):
    assert [*breaches(source, "file.py")] == []
