import copy

import pytest
import torch
from torch import nn

from dept_vl.train.adafactor import Adafactor
from dept_vl.train.optim import build_optimizer
from tests.tiny_runs import RATES, build_network, fit_toy, trained_bytes

SHAPES = {"prompt": (5, 4), "low_rank": (3,), "bank": (2, 3, 4)}


def weights(value: float = 1.0, **shapes: tuple[int, ...]) -> dict[str, list[nn.Parameter]]:
    return {name: [nn.Parameter(torch.full(shape, value))] for name, shape in shapes.items()}


def test_the_first_step_of_a_matrix_is_as_computed_by_hand():
    """G^2 = [[9, 16], [1, 4]]: R = [12.5, 2.5], C = [5, 10], mean(R) = 7.5; so U^2 = G^2 / V, whose mean is 0.96."""
    groups = weights(prompt=(2, 2))
    optimizer = Adafactor([{"params": groups["prompt"], "lr": 0.5}], weight_decay=0.1)
    groups["prompt"][0].grad = torch.tensor([[3.0, 4.0], [1.0, -2.0]])
    optimizer.step()
    update = torch.tensor([[1.08, 0.96], [0.6, 1.2]]).sqrt() * torch.tensor([[1, 1], [1, -1]])
    torch.testing.assert_close(groups["prompt"][0].data, (1 - 0.5 * 0.1) - 0.5 * update)


def test_two_steps_of_a_vector_are_as_computed_by_hand():
    """b_1 = 0, b_2 = 1 - 2^-0.8 = 0.42565: V = 0.42565 + 0.57435 x 100, so U = 10 / 7.6066 = 1.3147, clipped to 1."""
    groups = weights(0.0, prompt=(4,))
    [weight] = groups["prompt"]
    optimizer = Adafactor([{"params": [weight], "lr": 0.1}])
    for gradient, wanted in ((1.0, -0.1), (10.0, -0.2)):
        weight.grad = torch.full((4,), gradient)
        optimizer.step()
        torch.testing.assert_close(weight.data, torch.full((4,), wanted))
    assert optimizer.state[weight]["exp_avg_sq"][0].item() == pytest.approx(57.8609, abs=1e-3)


def test_it_takes_the_steps_of_transformers():
    from transformers.optimization import Adafactor as Other

    own, generator = weights(**SHAPES), torch.Generator().manual_seed(0)
    others = copy.deepcopy(own)
    rates = {"prompt": 0.3, "low_rank": 1e-2, "bank": 0.05}
    optimizer = build_optimizer(own, rates, name="adafactor", weight_decay=1e-2, betas=(0.9, 0.999), eps=1e-6)
    other = Other(
        [{"params": others[name], "lr": rates[name]} for name in others],
        weight_decay=1e-2, scale_parameter=False, relative_step=False,
    )  # fmt: skip
    for _ in range(4):
        for name in SHAPES:
            gradient = torch.randn(SHAPES[name], generator=generator)
            own[name][0].grad, others[name][0].grad = gradient, gradient.clone()
        optimizer.step()
        other.step()
    for name in SHAPES:
        torch.testing.assert_close(own[name][0].data, others[name][0].data)
        assert not torch.equal(own[name][0], torch.ones(SHAPES[name]))


def test_it_keeps_rows_and_columns_and_moves_no_weight_without_a_gradient():
    groups = weights(prompt=(100, 768), low_rank=(3,))
    optimizer = build_optimizer(
        groups, {"prompt": 0.3, "low_rank": 0.1}, name="adafactor", weight_decay=0.1, betas=(0.9, 0.999), eps=1e-6
    )
    assert [group["name"] for group in optimizer.param_groups] == ["low_rank", "prompt"]
    groups["prompt"][0].grad = torch.zeros(100, 768)
    optimizer.step()
    kept = {name: tuple(each.shape) for name, each in optimizer.state[groups["prompt"][0]].items() if name != "step"}
    assert kept == {"exp_avg_sq_row": (100,), "exp_avg_sq_col": (768,)}  # 868 numbers, of Adam's 153,600
    torch.testing.assert_close(groups["prompt"][0].data, torch.full((100, 768), 1 - 0.3 * 0.1))  # 0 / 0 is no step
    assert torch.equal(groups["low_rank"][0], torch.ones(3)) and groups["low_rank"][0] not in optimizer.state


@pytest.mark.usefixtures("afresh")
def test_a_resumed_run_ends_like_one_that_never_stopped(byte_t5, tmp_path):
    from dept_vl.train.resumable import BadCheckpoint

    def fit(seed: int, folder: str, optimizer: str = "adafactor", **more: object):
        network = build_network(byte_t5, seed=seed)
        fit_toy(network, byte_t5, tmp_path / folder, steps=4, save_steps=1, optimizer=optimizer, rates=RATES, **more)
        return network

    whole = fit(0, "whole")
    middle = tmp_path / "whole" / "checkpoints" / "step_2"
    assert trained_bytes(fit(9, "again", resume_from=middle)) == trained_bytes(whole)
    assert trained_bytes(whole) != trained_bytes(fit(0, "other", "adamw"))
    with pytest.raises(BadCheckpoint, match="'optimizer': 'AdamW'.*, given .*'optimizer': 'Adafactor'"):
        fit(9, "mixed", "adamw", resume_from=middle)
