"""While tests run, beartype checks every signature of the package, the shapes in it included."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

import tests.checked  # noqa: F401  the hook finds it by its name

install_import_hook("dept_vl", "tests.checked.check")
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
# While the hook imports one of our modules, no cached bytecode is found, of third parties neither: what they import was
# compiled anew in every process, 4,700 modules in 18 s of CPU time. Imported before, they are not.
LIBRARIES = (
    "accelerate.utils", "beartype", "datasets", "jsonargparse", "matplotlib.figure", "open_clip", "peft",
    "pycocoevalcap.rouge.rouge", "rouge_score.rouge_scorer", "scipy.stats", "sklearn.metrics", "torch",
    "transformers.generation", "transformers.models.auto", "transformers.models.t5.modeling_t5",
)  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Our own warnings are errors. Here and not in pyproject.toml, which pytest reads before the import hook stands."""
    config.addinivalue_line("filterwarnings", "error::dept_vl.registry.DeptVLWarning")


def pytest_collection(session: pytest.Session) -> None:
    if not session.config.getoption("numprocesses", None):  # else this is the process that only hands out tests
        for library in LIBRARIES:
            import_module(library)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """A run sets the threads of its process; left to the next tests, several workers' threads spin for each other."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(autouse=True)
def charts_where_asked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run's report without its four charts, which take longer than a tiny run; they are drawn where a test is marked
    `charts`."""
    if "dept_vl.run.report" in sys.modules and not request.node.get_closest_marker("charts"):
        monkeypatch.setattr("dept_vl.run.charts.draw_run", lambda results, log: [])


@pytest.fixture(scope="session")
def byte_t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a T5 of a few thousand weights and its byte-level tokenizer."""
    from tests.tiny_runs import write_byte_t5

    return write_byte_t5(tmp_path_factory.mktemp("byte_t5"))


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a Shapes of 16 images and a CLIP of random weights; the features of all runs join them."""
    from dept_vl.embedded.shapes import write_shapes
    from tests.tiny_models import write_tiny_clip
    from tests.tiny_runs import QUESTIONS, SIZES

    folder = tmp_path_factory.mktemp("place")
    write_shapes(folder / "shapes", sizes=SIZES, questions_per_image=QUESTIONS)
    write_tiny_clip(folder / "clip")
    return folder


@pytest.fixture
def experiment(place: Path, byte_t5: Path, tmp_path: Path) -> Callable:
    """The config of a short run over `place`, into tmp_path / name."""
    from tests.tiny_runs import tiny_experiment

    def experiment(name="run", **changes):
        vision = {"feature_dir": str(place / "features"), **changes.pop("vision", {})}
        root = place / "shapes"
        return tiny_experiment(byte_t5, place / "clip", root, tmp_path / name, vision=vision, **changes)

    return experiment


@pytest.fixture(scope="session")
def meteor_programs() -> Iterator[Callable]:
    """METEOR's program by its java; it reads its tables for many seconds when it starts. For the machine it is German,
    where a half is written 0,5, which METEOR then cannot read."""
    from dept_vl.metrics.meteor import Meteor

    programs: dict[str, Meteor] = {}
    with ExitStack() as stack:

        def program(java: str) -> nullcontext:
            if java not in programs:
                with pytest.MonkeyPatch.context() as patch:
                    for name in ("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS"):
                        patch.setenv(name, "-Duser.language=de -Duser.country=DE")
                    programs[java] = stack.enter_context(Meteor(java))
            return nullcontext(programs[java])

        yield program


@pytest.fixture
def meteor_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Caption scores whose METEOR is 1 for a caption that is one of its references and else 0: its program takes many
    seconds to start, and tests/metrics holds that its scores are the official ones."""
    monkeypatch.setattr("dept_vl.metrics.captions.Meteor", lambda java: nullcontext(_Same()))


class _Same:
    def score(self, references: dict, hypotheses: dict) -> tuple[float, list[float]]:
        scores = [float(hypotheses[item][0] in references[item]) for item in hypotheses]
        return sum(scores) / len(scores), scores


@pytest.fixture
def afresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """accelerate as in a new process, on the CPU."""
    from tests.tiny_runs import forget_accelerate

    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    forget_accelerate()
    yield
    forget_accelerate()


@pytest.fixture
def network(byte_t5: Path):
    """DePT and a projection over the byte-level T5, whose dropout acts in training."""
    from tests.tiny_runs import build_network

    return build_network(byte_t5, dropout=True)


@pytest.fixture
def fit(byte_t5: Path, tmp_path: Path) -> Callable:
    """A run of the training loop over the toy task, into tmp_path / folder; see `fit_toy`."""
    import torch

    from tests.tiny_runs import fit_toy

    def fit(network, folder="run", *, torch_seed=3, **arguments):
        torch.manual_seed(torch_seed)
        return fit_toy(network, byte_t5, tmp_path / folder, **arguments)

    return fit
