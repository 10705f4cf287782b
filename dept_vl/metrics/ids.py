"""Scores are means over complete sets: every id has exactly one prediction, or there is no score."""

from collections.abc import Collection, Iterable, Mapping

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
        parts = [f"{len(missing):,} missing{first_ids(missing)}", f"{len(extra):,} unknown{first_ids(extra)}"]
        raise MissingPrediction(
            f"wanted one prediction for each of {len(wanted):,} {kind} ids, given {len(predictions):,}: "
            + ", ".join(parts)
        )


def in_order(ids: Iterable[ItemId]) -> list[ItemId]:
    """The ids in an order that depends on nothing but themselves, so that a sum of floats does not either."""
    return sorted(ids, key=lambda key: (type(key).__name__, key))


def first_ids(ids: Collection[ItemId], show: int = 5) -> str:
    """The smallest ids in brackets, to stand behind their count; nothing for none."""
    if not ids:
        return ""
    names = ", ".join(repr(key) for key in in_order(ids)[:show])
    return f" ({names}{', ...' if len(ids) > show else ''})"
