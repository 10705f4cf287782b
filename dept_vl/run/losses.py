"""What a run says of text that its tokenizer does not carry: before it trains, in results.json and in the report."""

import warnings
from collections.abc import Mapping
from typing import Any

from dept_vl.data.batches import Encoded, EncodedExamples
from dept_vl.data.carried import WARN_ABOVE, measure, tell
from dept_vl.data.tokenizer import Tokenizer
from dept_vl.registry import DeptVLWarning
from dept_vl.tasks import Task


def tell_losses(task: Task, tokenizer: Tokenizer, encoded: Mapping[str, EncodedExamples], *, warn: bool = True) -> None:
    """Warn of sources, targets and candidates that are lost. Answers that are chosen among candidates need no text that
    survives, only different tokens.

    Raises: LostText where none of the answers that training is to teach survives.
    """
    for role, each in encoded.items():
        for what, loss in each.losses.items():
            taught = role == "train" and what == "targets" and not task.candidates
            tell(f"{role}: {what}", loss, refuse=taught, warn=warn)
        if warn and role == "train" and 0 < len(each.targets) == each.targets.counts["cut"]:
            message = (
                f"train: targets: all {len(each.targets):,} are cut; raise task.max_target_length to teach them whole"
            )
            warnings.warn(message, DeptVLWarning, stacklevel=2)
    if task.candidates:
        tell(f"{task.name}: labels", measure(tokenizer, task.candidates), above=0.0, warn=warn)


def losses_as_json(encoded: Mapping[str, Encoded]) -> dict[str, dict[str, Any]]:
    """{"train": {"targets": {...}}}: of each split what has a loss, with its examples."""
    return {
        role: found
        for role, each in encoded.items()
        if (found := {what: loss.as_json() for what, loss in each.losses.items() if loss.share})
    }


def loss_warnings(encoded: Mapping[str, Encoded]) -> list[str]:
    """Those above the share that counts, one a line, for what is read beside the scores."""
    return [
        f"{role}: {what}: {loss}"
        for role, each in encoded.items()
        for what, loss in each.losses.items()
        if loss.share > WARN_ABOVE
    ]
