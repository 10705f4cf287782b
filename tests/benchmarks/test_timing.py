"""The arithmetic of times: medians, spread, and the turns of interleaved runs. Nothing is timed here."""

import itertools

import pytest
import torch

from benchmarks.timing import Budget, NothingTimed, interleave, ratio, spread, surroundings


def test_a_spread_is_the_median_with_its_quartiles():
    found = spread([4.0, 1.0, 3.0, 2.0, 5.0])
    assert (found.value, found.low, found.high, found.rounds) == (3.0, 2.0, 4.0, 5)
    alone = spread([2.0])
    assert (alone.value, alone.low, alone.high, alone.rounds) == (2.0, 2.0, 2.0, 1)


def test_a_ratio_is_of_medians_and_its_spread_of_the_rounds():
    found = ratio([2.0, 4.0, 6.0], [1.0, 2.0, 4.0])
    assert found.value == 4 / 2 and found.rounds == 3
    assert (found.low, found.high) == (1.75, 2.0)  # of 2, 2 and 1.5


def test_a_ratio_of_medians_lies_within_its_spread():
    found = ratio([1.0, 10.0, 10.0], [1.0, 10.0, 1.0])
    assert found.value == 10.0 and found.low <= found.value <= found.high


def test_a_budget_leaves_room_for_what_rows_take_beside_their_measuring():
    now = 0.0
    budget = Budget(100, {"a": 0.5, "b": 0.0, "c": 0.5}, beside=10, clock=lambda: now)
    assert budget.begin("a") == (100 - 3 * 10) * 0.5
    now = 35 + 20  # 20 beside
    assert budget.begin("b") == 0
    now += 10  # and 10: 15 on average
    assert budget.begin("c") == pytest.approx(100 - 65 - 15)
    now = 200
    late = Budget(100, {"a": 0.5, "b": 0.5}, clock=lambda: now)
    now = 290
    assert late.begin("a") == 0, "the least number of rounds is measured all the same"
    now = 300
    assert late.begin("b") is None, "no row begins when the time is over"


@pytest.mark.parametrize("over, under", [([], []), ([1.0], [1.0, 2.0])])
def test_rounds_that_do_not_pair_are_refused(over, under):
    with pytest.raises(NothingTimed, match="wanted as many rounds of both, at least 1, given"):
        ratio(over, under)


class Clock:
    """Goes on by what the runs say that they take."""

    def __init__(self):
        self.now, self.told = 0.0, []

    def __call__(self):
        return self.now

    def run(self, name, *seconds):
        def part(number, taken):
            self.now += taken
            self.told.append(f"{name}{number}")

        return [lambda number=number, taken=taken: part(number, taken) for number, taken in enumerate(seconds)]


def test_runs_take_turns_and_warm_up_untimed():
    clock = Clock()
    times = interleave({"a": clock.run("a", 1, 2), "b": clock.run("b", 3, 4)}, seconds=0, least=2, clock=clock)
    assert times == {"a": [3.0, 3.0], "b": [7.0, 7.0]}
    assert clock.told == ["a0", "b0", "a0", "b0", "b1", "a1", "a0", "b0", "b1", "a1"]


@pytest.mark.parametrize("seconds, rounds", [(0, 3), (49, 4), (50, 5), (1000, 7)])
def test_rounds_fill_the_time_between_least_and_most(seconds, rounds):
    clock = Clock()
    times = interleave({"a": clock.run("a", 10)}, seconds=seconds, least=3, most=7, clock=clock)
    assert len(times["a"]) == rounds


@pytest.mark.parametrize("parts", [{}, {"a": 1, "b": 2}, {"a": 0}])
def test_runs_of_unequal_parts_are_refused(parts):
    runs = {name: list(itertools.repeat(lambda: None, number)) for name, number in parts.items()}
    with pytest.raises(NothingTimed, match="wanted runs of one number of parts"):
        interleave(runs, seconds=1)


def test_surroundings_name_machine_versions_and_threads():
    found = surroundings(torch.device("cpu"))
    assert found["machine"]["torch_threads"] >= 1 and "torch-version" in found["versions"] and found["date"]
