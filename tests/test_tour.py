"""docs/tour.ipynb runs from top to bottom, and what is committed of it is small."""

from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "tour.ipynb"


@pytest.fixture
def notebook():
    return pytest.importorskip("nbformat", reason="nbclient is not installed").read(NOTEBOOK, as_version=4)


def texts(cell):
    return "".join(output.get("text", "") for output in cell.get("outputs", ()))


def test_the_committed_notebook_was_executed_whole_and_is_small(notebook):
    assert NOTEBOOK.stat().st_size < 60_000
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not any(output.output_type == "error" for cell in code for output in cell.outputs)


@pytest.mark.slow  # it trains twice and exports
def test_every_cell_runs_and_says_what_it_should(notebook, tmp_path, monkeypatch):
    client = pytest.importorskip("nbclient", reason="nbclient is not installed")
    for library in ("ipykernel", "onnxruntime", "onnxscript"):
        pytest.importorskip(library, reason=f"{library} is not installed")
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOK.parents[1]))
    client.NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}}).execute()
    said = "".join(map(texts, notebook.cells))
    for line in ("the same embeddings: True", "each as alone: True", "as above: True"):
        assert line in said
