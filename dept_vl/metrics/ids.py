"""Scores are means over complete sets: every id has exactly one prediction, or there is no score."""

from collections.abc import Iterable, Mapping

from dept_vl.untrusted.bad_file import listed

ItemId = int | str


class MissingPrediction(ValueError):
    """Predictions and references differ in their ids; the message counts and names what is missing."""


def check_ids(predictions: Mapping[ItemId, object], wanted: Mapping[ItemId, object], kind: str) -> None:
    """Raises MissingPrediction unless the two mappings have the same keys, at least one. kind: "question"."""
    if not wanted:
        raise MissingPrediction(f"wanted at least one {kind} to score, given none")
    missing = [key for key in wanted if key not in predictions]
    extra = [key for key in predictions if key not in wanted]
    if missing or extra:
        raise MissingPrediction(
            f"wanted one prediction for each of {len(wanted):,} {kind} ids, given {len(predictions):,}: missing "
            f"{listed(in_order(missing))}, unknown {listed(in_order(extra))}"
        )


def in_order(ids: Iterable[ItemId]) -> list[ItemId]:
    """The ids in an order that depends on nothing but themselves, so that a sum of floats does not either."""
    return sorted(ids, key=lambda key: (type(key).__name__, key))
