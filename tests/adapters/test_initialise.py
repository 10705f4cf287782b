import pytest
import torch

from dept_vl.adapters.initialise import (
    BadInit,
    from_labels,
    from_tokens,
    random_rows,
    sample_vocabulary,
    uniform,
)


@pytest.fixture
def table() -> torch.Tensor:
    """Row i holds i everywhere."""
    return torch.arange(30.0)[:, None].expand(30, 4).to(torch.bfloat16)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_sampled_rows_are_different_frequent_and_not_excluded(table):
    rows = sample_vocabulary(table, 8, seeded(), most_frequent=12, exclude=(0, 1, 5, 99))
    ids = rows[:, 0].int().tolist()
    assert rows.shape == (8, 4) and rows.dtype == torch.float32
    assert len(set(ids)) == 8 and set(ids) <= set(range(12)) - {0, 1, 5}


def test_all_candidates_can_be_sampled(table):
    assert sample_vocabulary(table, 30, seeded())[:, 0].sort().values.tolist() == list(range(30))


def test_one_seed_samples_one_prompt(table):
    assert torch.equal(sample_vocabulary(table, 8, seeded(3)), sample_vocabulary(table, 8, seeded(3)))
    assert not torch.equal(sample_vocabulary(table, 8, seeded(3)), sample_vocabulary(table, 8, seeded(4)))


def test_more_rows_than_candidates_are_refused(table):
    message = r"wanted at most 10 start rows, .*\(most_frequent=12, vocabulary 30, 2 excluded\), given 11"
    with pytest.raises(BadInit, match=message):
        sample_vocabulary(table, 11, seeded(), most_frequent=12, exclude=[0, 1])


def test_a_text_is_repeated_and_cut(table):
    assert from_tokens(table, [7, 3, 1], 8)[:, 0].tolist() == [7, 3, 1, 7, 3, 1, 7, 3]
    assert from_tokens(table, [7, 3, 1], 2)[:, 0].tolist() == [7, 3]
    assert from_tokens(table, [7, 3, 1], 0).shape == (0, 4)


def test_an_empty_text_is_refused(table):
    with pytest.raises(BadInit, match="adapter.start.text: wanted .* given none"):
        from_tokens(table, [], 3)


def test_ids_outside_the_table_are_refused(table):
    with pytest.raises(BadInit, match=r"wanted token ids from 0 to 29, the table's rows, given \[30, -1\]"):
        from_tokens(table, [2, 30, -1], 3)


def test_labels_are_means_of_their_pieces_and_the_rest_is_sampled(table):
    rows = from_labels(table, [[4], [2, 5, 8]], 6, seeded(), most_frequent=10, exclude=(9,))
    assert rows.shape == (6, 4) and rows[:2, 0].tolist() == [4.0, 5.0]
    assert torch.equal(rows[2:], sample_vocabulary(table, 4, seeded(), most_frequent=10, exclude=(9,)))


def test_labels_that_do_not_fit_or_have_no_pieces_are_refused(table):
    with pytest.raises(BadInit, match="wanted at most num=1 labels, given 2; raise num_virtual_tokens"):
        from_labels(table, [[4], [2]], 1, seeded())
    with pytest.raises(BadInit, match=r"at least one token id per label, given none for the labels at \[1\]"):
        from_labels(table, [[4], []], 3, seeded())


def test_start_vectors_do_not_share_memory_with_the_table(table):
    table = table.float().requires_grad_()
    for rows in (
        sample_vocabulary(table, 3, seeded()),
        from_tokens(table, [1], 3),
        from_labels(table, [[1]], 3),
    ):
        assert not rows.requires_grad
        rows.add_(1.0)
    assert torch.equal(table, torch.arange(30.0)[:, None].expand(30, 4))


def test_random_rows_have_their_std():
    rows = random_rows(200, 50, seeded(), std=0.02)
    assert rows.std().item() == pytest.approx(0.02, rel=0.05) and abs(rows.mean().item()) < 0.001
    assert torch.equal(rows, random_rows(200, 50, seeded(), std=0.02))


def test_uniform_keeps_its_bound():
    drawn = uniform(100, 50, 0.3, seeded())
    assert drawn.shape == (100, 50) and drawn.abs().max() <= 0.3
    assert drawn.min() < -0.29 and drawn.max() > 0.29
