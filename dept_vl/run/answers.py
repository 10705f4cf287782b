"""The list of answers among which a VQA run chooses, as its config gives it."""

from collections import Counter
from pathlib import Path

from dept_vl.config import BadConfig
from dept_vl.data.encodings import other_encoding
from dept_vl.untrusted.bad_file import listed


def listed_answers(given: int | str | tuple[str, ...]) -> tuple[str, ...]:
    """The answers of a file, a line each, or of a list; () for a number, whose answers the training set has.

    Raises: BadConfig for a file that cannot be read, fewer than two answers, or one that stands twice.
    """
    if isinstance(given, int):
        if given < 2:
            raise BadConfig(f"task.answers: wanted at least 2 answers to choose among, given {given}")
        return ()
    lines = _lines(Path(given)) if isinstance(given, str) else given
    answers = tuple(filter(None, map(str.strip, lines)))
    if len(answers) < 2:
        raise BadConfig(f"task.answers: wanted at least 2 answers to choose among, given {list(answers)}")
    if twice := [each for each, times in Counter(answers).items() if times > 1]:
        raise BadConfig(f"task.answers: wanted every answer once, given several times: {listed(twice)}")
    return answers


def _lines(path: Path) -> list[str]:
    wanted = "task.answers: wanted a number, a list, or a text file with an answer in each line"
    try:
        data = path.read_bytes()
        return data.decode("utf-8-sig").splitlines()
    except OSError as error:
        raise BadConfig(f"{wanted}, given {str(path)!r} ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise BadConfig(f"{wanted}, given {path}: {other_encoding(data) or error}") from error
