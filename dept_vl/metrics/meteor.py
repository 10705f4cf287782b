"""METEOR 1.5 (Denkowski and Lavie, WMT 2014) through the program that pycocoevalcap ships.

It answers on stdout, line by line: `SCORE ||| reference ||| ... ||| hypothesis` gives statistics, and
`EVAL ||| statistics ||| ...` one score per sentence and then the corpus score. pycocoevalcap's own wrapper
leaves pipes open, and waits for ever on its lock once the program has died; this one does neither.
"""

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import pycocoevalcap

from dept_vl.metrics.ids import ItemId
from dept_vl.metrics.java import LOCALE, JavaFailed, complaint, environment

_FOLDER = Path(pycocoevalcap.__path__[0], "meteor")
_COMMAND = ["-jar", "-Xmx2G", "meteor-1.5.jar", "-", "-", "-stdio", "-l", "en", "-norm"]


class Meteor:
    """The running program; use it as a context manager, which ends it. Raises JavaFailed."""

    def __init__(self, java: str) -> None:
        self._stderr = tempfile.TemporaryFile()
        try:
            self._process = subprocess.Popen(
                [java, *LOCALE, *_COMMAND],
                cwd=_FOLDER,
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            self._stderr.close()
            raise JavaFailed(f"METEOR did not start with {java}: {error}") from error
        assert self._process.stdin is not None and self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout

    def __enter__(self) -> "Meteor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._stdout.close()
        try:
            self._stdin.close()
        except BrokenPipeError:
            pass  # the last line was still on its way to a dead program; its score failed already
        self._stderr.close()

    def score(
        self, references: Mapping[ItemId, Sequence[str]], hypotheses: Mapping[ItemId, Sequence[str]]
    ) -> tuple[float, list[float]]:
        """The corpus score and that of each id, as fractions; both mappings hold tokens joined by spaces."""
        statistics = [self._statistics(references[key], hypotheses[key][0]) for key in references]
        self._send(" ||| ".join(["EVAL", *statistics]))
        scores = [self._number() for _ in statistics]
        return self._number(), scores

    def _statistics(self, references: Sequence[str], hypothesis: str) -> str:
        # The official wrapper folds double spaces in the hypothesis only.
        parts = ["SCORE", *(_without_separator(reference) for reference in references)]
        self._send(" ||| ".join([*parts, _without_separator(hypothesis).replace("  ", " ")]))
        line = self._receive()
        if not line or not line[0].isdigit():
            raise self._failed(line)
        return line

    def _number(self) -> float:
        line = self._receive()
        try:
            return float(line)
        except ValueError:
            raise self._failed(line) from None

    def _send(self, line: str) -> None:
        try:
            self._stdin.write(f"{line}\n")
            self._stdin.flush()
        except OSError:
            raise self._failed("") from None

    def _receive(self) -> str:
        return self._stdout.readline().strip()

    def _failed(self, line: str) -> JavaFailed:
        self._process.kill()
        status = self._process.wait()
        self._stderr.seek(0)
        why = complaint(self._stderr.read())
        return JavaFailed(f"METEOR answered {line!r}, wanted numbers (exit status {status}): {why}")


def _without_separator(text: str) -> str:
    """The text without the mark that separates parts of a line."""
    return text.replace("|||", "")
