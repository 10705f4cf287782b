import pytest
import torch

from dept_vl.train.optim import BadLearningRates, build_optimizer, build_schedule

SETTINGS = {"weight_decay": 0.01, "betas": (0.8, 0.9), "eps": 1e-4}


def groups(**sizes: int) -> dict[str, list[torch.nn.Parameter]]:
    return {name: [torch.nn.Parameter(torch.ones(size))] for name, size in sizes.items()}


def test_every_group_has_its_own_rate_and_the_common_settings():
    weights = groups(prompt=2, low_rank=3, projection=4)
    rates = {"prompt": 0.3, "low_rank": 5e-4, "projection": 1e-3}
    optimizer = build_optimizer(weights, rates, **SETTINGS)
    assert [group["name"] for group in optimizer.param_groups] == ["low_rank", "projection", "prompt"]
    for group in optimizer.param_groups:
        assert group["lr"] == rates[group["name"]] and group["params"] == weights[group["name"]]
        assert {name: group[name] for name in SETTINGS} == SETTINGS


def test_a_group_moves_by_its_own_rate():
    weights = groups(prompt=1, projection=1)
    rates = {"prompt": 0.5, "projection": 0.0}
    optimizer = build_optimizer(weights, rates, weight_decay=0.0, betas=(0.9, 0.999), eps=1e-8)
    for group in weights.values():
        group[0].grad = torch.full((1,), 3.0)
    optimizer.step()
    assert weights["prompt"][0].item() == pytest.approx(0.5, abs=1e-6)  # Adam's first step is the rate itself
    assert weights["projection"][0].item() == 1


def test_rates_of_absent_groups_are_left_alone():
    optimizer = build_optimizer(groups(projection=1), {"prompt": 0.3, "projection": 1e-3}, **SETTINGS)
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize(
    ("sizes", "rates", "message"),
    [
        ({"prompt": 1}, {"promt": 0.3}, "rate for 'prompt', given {'promt': 0.3}. Did you mean 'promt'"),
        ({}, {"prompt": 0.1}, "at least one group of weights to train, given none"),
    ],
)
def test_bad_rates_are_refused(sizes, rates, message):
    with pytest.raises(BadLearningRates, match=message):
        build_optimizer(groups(**sizes), rates, **SETTINGS)


def test_an_unknown_optimizer_is_refused_by_name():
    with pytest.raises(
        ValueError, match="optim.name: wanted one of adamw, adafactor, given 'adafctor'. Did you mean 'ad"
    ):
        build_optimizer(groups(prompt=1), {"prompt": 1.0}, name="adafctor", **SETTINGS)


def rates_over(steps: int, **arguments) -> list[float]:
    optimizer = build_optimizer(groups(prompt=1), {"prompt": 1.0}, **SETTINGS)
    schedule = build_schedule(optimizer, max_steps=steps, **arguments)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return [*seen, optimizer.param_groups[0]["lr"]]


@pytest.mark.parametrize("warmup_steps", [2, 0.2])
def test_linear_warms_up_and_falls_to_zero(warmup_steps):
    rates = rates_over(10, name="linear", warmup_steps=warmup_steps)
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1])
    assert rates[2:] == pytest.approx([place / 8 for place in range(8, -1, -1)])


def test_constant_stays_after_its_warm_up():
    assert rates_over(5, name="constant", warmup_steps=1) == pytest.approx([0.5, 1, 1, 1, 1, 1])
    assert rates_over(3, name="constant", warmup_steps=0) == [1, 1, 1, 1]


def test_the_first_step_trains_whatever_the_warm_up():
    assert all(rate > 0 for rate in rates_over(100, name="linear", warmup_steps=0.06)[:-1])


def test_a_warm_up_as_long_as_the_run_is_refused():
    with pytest.raises(ValueError, match="warmup_steps: .*max_steps=10, given 10"):
        rates_over(10, name="linear", warmup_steps=10)
