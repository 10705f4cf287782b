"""Forgetting: nothing where nothing is added, something where a prompt stands in front, and on which texts."""

import pytest

from dept_vl.config import InsideConfig, OptimConfig
from dept_vl.embedded.pretraining.language import DIALECTS
from dept_vl.run.execute import run
from dept_vl.run.forgetting import SHAPES, NoText, halves, measure_forgetting, shapes_pairs
from tests.tiny_runs import RATES, text_experiment, write_cola

NONE = {"name": "none", "args": {}}
TEXT = "\n".join(
    ["= A heading of words that is long enough to be taken for a paragraph if it were one of them ="]
    + [" ".join(f"word{row}{place}" for place in range(16 + row)) for row in range(4)]
    + ["too short"]
)


@pytest.fixture
def text(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path / "text.txt"


@pytest.mark.usefixtures("afresh")
def test_only_what_is_added_moves_the_loss(byte_t5, tmp_path, text):
    data, found = write_cola(tmp_path / "data"), {}
    methods = {
        "prompt": {},
        "inside": {"adapter": NONE, "inside": InsideConfig("lora", {"r": 2})},
    }
    rates = OptimConfig(lr={**RATES, "lora": 0.01})
    for name, method in methods.items():
        run(text_experiment(byte_t5, data, tmp_path / name, max_steps=2, eval_steps=0, optim=rates, **method))
        found[name] = measure_forgetting(tmp_path / name, str(text))
    assert {each.rows for each in found.values()} == {4}
    assert found["prompt"].frozen == pytest.approx(found["inside"].frozen, abs=1e-6) and found["prompt"].frozen > 1
    assert abs(found["prompt"].change) > 1e-3, "a prompt in front is read"
    assert abs(found["inside"].change) < abs(found["prompt"].change), "two steps from the frozen model itself"
    assert measure_forgetting(tmp_path / "prompt", SHAPES, rows=5).rows == 5


def test_a_paragraph_is_cut_in_the_middle_and_headings_are_none(text):
    pairs = halves(text, 10)
    assert len(pairs) == 4 and pairs[1][0].split()[-1] == "word17" and pairs[1][1].split()[0] == "word18"
    assert len(halves(text, 2)) == 2
    text.write_text("nothing here")
    with pytest.raises(NoText, match="wanted a line of 16 words or more, given none"):
        halves(text, 10)


def test_the_text_of_tiny_t5_is_its_own_pretraining_on_held_out_scenes():
    pairs = shapes_pairs(20)
    assert pairs == shapes_pairs(20) and len(set(pairs)) == 20
    assert all(source.partition(":")[0] in DIALECTS and " given: " in source for source, _ in pairs)
