"""Ranks and norms: known values first, then what is read from folders."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dept_vl.adapters import ADAPTERS, build_adapter
from dept_vl.plans.analysis import BadLog, analyse_rank, common_share, effective_rank, matrix_facts, read_course
from dept_vl.saved import BadAdapterFolder, ModelFacts, export_peft, save_adapter
from tests.toy_arguments import all_toy_arguments

BACKBONE = {"base_model_name_or_path": "t5", "revision": None, "backbone_sha256": "a" * 64}
ARGUMENTS = all_toy_arguments(num_virtual_tokens=4, max_length=7)


def random(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def trained(name: str, **changes: int):
    """An adapter of width 8 with random weights."""
    adapter = build_adapter(name, random(9, 8), ARGUMENTS[name] | changes, torch.Generator().manual_seed(1))
    with torch.no_grad():
        for weight in adapter.parameters():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(2)))
    return adapter


@pytest.fixture
def save(tmp_path):
    def save(adapter):
        save_adapter(tmp_path / "saved", {"adapter": adapter}, backbone_identity=BACKBONE, card=ModelFacts("a run"))
        return tmp_path / "saved"

    return save


# Known values


@pytest.mark.parametrize(
    ("values", "rank"),
    [
        ([3.0], 1.0),
        ([5.0, 0.0, 0.0], 1.0),
        ([0.2] * 7, 7.0),
        ([2.0, 1.0, 1.0], 2**1.5),  # shares 1/2, 1/4, 1/4: 1.5 bits
        ([0.0, 0.0], 0.0),
    ],
)
def test_the_effective_rank_of_known_singular_values(values, rank):
    assert effective_rank(torch.tensor(values)) == pytest.approx(rank)


@pytest.mark.parametrize("size", [1, 3, 10])
def test_the_identity_has_every_rank_and_an_outer_product_one(size):
    whole = matrix_facts(torch.eye(size))
    assert whole.effective_rank == pytest.approx(size) and whole.numerical_rank == size
    assert whole.singular_values == pytest.approx([1.0] * size) and whole.common_share == pytest.approx(1 / size)
    single = matrix_facts(torch.outer(torch.arange(1.0, size + 1), torch.arange(1.0, 6.0)))
    assert single.effective_rank == pytest.approx(1.0, abs=1e-5) and single.numerical_rank == 1


def test_norms_and_singular_values_of_a_known_matrix():
    facts = matrix_facts(torch.tensor([[3.0, 4.0], [0.0, 0.0], [-4.0, 3.0]]))
    assert (facts.rows, facts.columns) == (3, 2)
    assert facts.row_norms == pytest.approx([5.0, 0.0, 5.0]) and facts.singular_values == pytest.approx([5.0, 5.0])


@pytest.mark.parametrize(
    ("rows", "share"),
    [
        ([[2.0, -1.0, 5.0]] * 4, 1.0),
        ([[2.0, -1.0], [-2.0, 1.0]], 0.0),
        ([[1.0, 1.0], [1.0, -1.0]], 0.5),
        ([[0.0, 0.0]] * 3, None),
    ],
)
def test_the_share_that_is_common_to_all_rows(rows, share):
    found = common_share(torch.tensor(rows))
    assert found is None if share is None else found == pytest.approx(share)


@settings(max_examples=40)
@given(
    rows=st.integers(1, 6), columns=st.integers(1, 6), scale=st.sampled_from([1e-4, 1.0, 300.0]), seed=st.integers(0, 9)
)
def test_laws_of_every_matrix(rows, columns, scale, seed):
    matrix = random(rows, columns, seed)
    facts, other = matrix_facts(matrix), matrix_facts(scale * matrix)
    assert 1 <= facts.effective_rank <= min(rows, columns) + 1e-9
    assert other.effective_rank == pytest.approx(facts.effective_rank, rel=1e-5)  # no unit
    assert (
        other.common_share == pytest.approx(facts.common_share, rel=1e-4, abs=1e-6) and 0 <= facts.common_share <= 1.001
    )
    squares = [math.fsum(value**2 for value in each) for each in (facts.singular_values, facts.row_norms)]
    assert squares[0] == pytest.approx(squares[1], rel=1e-5) and len(facts.row_norms) == rows
    turned = random(columns, columns, seed).double().matrix_exp()
    rotation = torch.linalg.qr(turned).Q.float()
    assert matrix_facts(matrix @ rotation).effective_rank == pytest.approx(facts.effective_rank, rel=1e-4)


# Adapters and run folders


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_every_adapter_is_analysed_by_its_fold(name, save):
    adapter = trained(name)
    found, folded = analyse_rank(save(adapter)), adapter.fold()
    assert (found.adapter, found.course) == (name, ())
    prompt, shift = (None, None) if folded is None else (folded.prompt, folded.shift)
    assert found.prompt == (None if prompt is None or not len(prompt) else matrix_facts(prompt))
    assert found.shift == (None if shift is None else matrix_facts(shift))


def test_the_low_rank_pair_and_the_probe_have_the_rank_that_they_can_have(save):
    assert analyse_rank(save(trained("dept"))).shift.numerical_rank == 2
    assert analyse_rank(save(trained("dpt"))).prompt.numerical_rank == 2
    probe = trained("rank_probe")
    with torch.no_grad():
        probe.probe_sigma.copy_(torch.tensor([1.0, -1.0, 2.0, 3.0]))
    assert analyse_rank(save(probe)).prompt.numerical_rank == 3


def test_only_rows_that_training_reached_count(save):
    adapter = trained("dept", r=1)
    with torch.no_grad():
        adapter.lora_embedding_A.fill_(1.0)
    adapter.load_state({"trained_length": 3})
    found = analyse_rank(save(adapter)).shift
    assert (found.rows, len(found.row_norms)) == (3, 3) and found.common_share == pytest.approx(1.0)
    adapter.load_state({"trained_length": 0})
    assert analyse_rank(save(adapter)).shift is None
    adapter.load_state({"trained_length": 99})
    assert analyse_rank(save(adapter)).shift.rows == 7


def test_a_shift_that_never_moved_has_no_rank_and_no_common_share(save):
    adapter = build_adapter("dept", random(9, 8), ARGUMENTS["dept"], torch.Generator())
    found = analyse_rank(save(adapter)).shift
    assert (found.numerical_rank, found.effective_rank, found.common_share) == (0, 0.0, None)


def test_a_promptless_dept_has_a_shift_alone(save):
    found = analyse_rank(save(trained("dept", num_virtual_tokens=0)))
    assert found.prompt is None and found.shift is not None


def test_an_adapter_of_peft_is_read_too(tmp_path):
    adapter = trained("pt")
    export_peft(adapter, tmp_path, base_model_name_or_path="t5")
    assert analyse_rank(tmp_path).prompt == matrix_facts(adapter.fold().prompt)


def test_a_folder_without_an_adapter_is_refused(tmp_path):
    with pytest.raises(BadAdapterFolder, match="wanted an adapter's config, given no such file"):
        analyse_rank(tmp_path)


def test_the_course_is_that_of_the_log_lines_with_diagnostics(tmp_path):
    assert read_course(tmp_path) == ()
    lines = [
        {"step": 2, "loss": 1.0, "diagnostics": {"positive": 4, "rank": 4}},
        {"step": 2, "evaluation": {"accuracy": 0.5}},
        {"step": 4, "loss": 0.5, "diagnostics": {"positive": 3, "rank": 3}},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_course(tmp_path) == ({"step": 2, "positive": 4, "rank": 4}, {"step": 4, "positive": 3, "rank": 3})


@pytest.mark.parametrize("line", ['{"step": 4, "diagno', '{"diagnostics": {"rank": 1}}', "7"])
def test_a_damaged_log_is_named_with_its_line(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_text(f'{{"step": 2, "loss": 1.0}}\n{line}\n')
    with pytest.raises(BadLog, match=r"metrics.jsonl, line 2: wanted a log line with its step, given "):
        read_course(tmp_path)
