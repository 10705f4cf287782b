"""A run over a user's own data: the settings for its reader, and the rows it left out."""

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path

from dept_vl.config import Experiment
from dept_vl.data.own import is_own, load_own_splits
from dept_vl.data.sources import Loaded, Splits
from dept_vl.tasks import CaptionTask, VqaTask
from dept_vl.untrusted.whole_files import write_whole

SKIPPED = "skipped_rows.jsonl"


def load_own(
    config: Experiment, root: Path | str, splits: Splits, task: VqaTask | CaptionTask
) -> dict[str, Loaded] | None:
    """The splits, or None where `root` holds official files. Pictures that come as bytes go beside the features."""
    if not is_own(root, task.name):
        return None
    given, features = config.task, Path(config.vision.feature_dir)
    with contextlib.suppress(OSError):  # one that cannot be written may be read; what has to be is refused elsewhere
        features.mkdir(parents=True, exist_ok=True)
    return load_own_splits(
        root,
        splits,
        task,
        columns=given.columns,
        on_bad_row=given.on_bad_row,
        shares=given.split_shares,
        image_root=None if given.image_root is None else Path(given.image_root),
        cache=features.with_name("own_images"),
        hashes=features / "hashes.json",
        num_threads=config.vision.num_workers or 1,
    )


def write_skipped(loaded: Iterable[Loaded], folder: Path) -> None:
    """skipped_rows.jsonl in the run folder, where rows were left out."""
    lines = dict.fromkeys(json.dumps(row, ensure_ascii=False) + "\n" for each in loaded for row in each.skipped)
    if lines:
        write_whole(folder / SKIPPED, "".join(lines).encode())
