"""metrics.jsonl and the trackers: the log of a run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from dept_vl.untrusted.whole_files import write_files_whole


class RunLog:
    """metrics.jsonl of a run folder, and accelerate's trackers: one line per log step, from the main process."""

    def __init__(self, folder: Path, accelerator: Accelerator) -> None:
        self.path, self._accelerator = folder / "metrics.jsonl", accelerator

    def start(self, step: int) -> None:
        """Forgets lines beyond `step`: a resumed run writes them again."""
        if not self._accelerator.is_main_process:
            return
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True) if self.path.exists() else []
        kept = "".join(line for line in lines if _step_of(line) <= step)
        write_files_whole(self.path.parent, {self.path.name: kept.encode("utf-8")})

    def write(self, step: int, **values: Any) -> None:
        if self._accelerator.is_main_process:
            line = json.dumps({"step": step, **values}) + "\n"
            try:
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(line)
            except OSError as error:
                raise OSError(error.errno, f"could not log step {step}: {error.strerror}", str(self.path)) from error
        self._accelerator.log(flat(values), step=step)


def flat(values: Mapping[str, Any], separator: str = "/", prefix: str = "") -> dict[str, int | float | str]:
    """Nested values as trackers take them: "lr/prompt" to a number or a word."""
    found: dict[str, int | float | str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, separator, f"{prefix}{name}{separator}")
        else:
            found[prefix + name] = value if isinstance(value, int | float | str) else str(value)
    return found


def _step_of(line: str) -> int:
    """The step of a log line; a line that a kill cut short counts as beyond every step."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return 1 << 62
