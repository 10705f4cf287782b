"""Score a finished predictions file against your own data, with no model.

predictions   {"id": "reviews-17", "prediction": "good"} a line, as a run's predictions.jsonl, or question_id and
              answer, or image_id and caption; a JSON array of these too
data          what training reads: your own file or folder, or an official set
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from dept_vl.config import Experiment, Score, TaskConfig
from dept_vl.data.seeded_split import SHARES
from dept_vl.data.text_files import read_rows
from dept_vl.run.components import read_splits
from dept_vl.run.tasks import build_task, resolve, suit
from dept_vl.untrusted.bad_file import BadFile, listed

IDS, ANSWERS = ("id", "question_id", "image_id"), ("prediction", "answer", "caption")
"""The fields of a prediction, the first that is there."""


def score_own_file(
    results: Path,
    root: str,
    task: str,
    split: str = "all",
    score: Score = "auto",
    columns: dict[str, str] | None = None,
    template: str | None = None,
    labels: tuple[str, ...] | None = None,
    split_shares: tuple[float, ...] = SHARES,
    image_root: str | None = None,
    on_bad_row: Literal["error", "skip"] = "error",
) -> dict[str, Any]:
    """Scores a predictions file against your own data.

    Args:
        results: a prediction for every row: a run's predictions.jsonl, or JSON with question_id and answer.
        root: your file or folder, as --task.root of training has it.
        task: vqa, caption, own_text, or another task in its official files.
        split: train, val or test as training makes them; all for every row.
        score: of vqa: auto goes by the answers; or one by name.
        columns: what the columns are, as --task.columns; the usual names are recognised.
        template: of own_text, where it reads other fields than source; as in training.
        labels: of own_text: its classes, as in training.
        split_shares: of data that says no splits, as in training, so that val and test are the same rows.
        image_root: folder where the image paths of your file start; null is the file's folder and its images/.
        on_bad_row: error stops at the first row that cannot be used, skip leaves it out and counts it.
    """
    given = {"columns": columns or {}, "template": template, "labels": labels, "on_bad_row": on_bad_row, "score": score}
    given |= {"split_shares": split_shares, "image_root": image_root}
    config = resolve(Experiment(task=TaskConfig(name=task, root=root, **given)))
    loaded = read_splits(config, build_task(config), {"test": (split, None)})["test"]
    suited = suit(build_task(config), {"test": loaded}, config.task)
    scores = suited.score(read_predictions(results), loaded.examples, split_size=loaded.counts["in_split"])
    return {
        "task": suited.name,
        "split": split,
        "reported": suited.headline,
        **scores,
        "counts": loaded.counts,
        "notes": list(loaded.notes),
    }


def read_predictions(file: Path) -> dict[int | str, str]:
    """Answers by id. Raises: BadFile for a row without id or answer, or an id that occurs twice."""
    found = read_rows(file, quoted=True)
    answers: dict[int | str, str] = {}
    twice = []
    for place, row in enumerate(found.rows):
        id, answer = _first(row, IDS), _first(row, ANSWERS)
        where = found.where(place)
        if not isinstance(id, int | str) or isinstance(id, bool):
            raise BadFile(file, f"{' or '.join(IDS)} as a number or text in {where}", f"{id!r:.80}")
        if not isinstance(answer, str):
            raise BadFile(file, f"{' or '.join(ANSWERS)} as text in {where}", f"{answer!r:.80}")
        twice += [id] if id in answers else []
        answers[id] = answer
    if twice:
        raise BadFile(file, "every id once", f"repeated: {listed(twice)}")
    return answers


def _first(row: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((row[name] for name in names if name in row), None)
