"""Print the lower bound of each package that a pyproject.toml asks for, as `name==version`."""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path


def lower_bounds(pyproject: str) -> Iterator[str]:
    project = tomllib.loads(pyproject)["project"]
    lines = [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]
    for line in dict.fromkeys(lines):
        if bound := re.match(r"([\w.-]+)(?:\[[\w,]+\])?>=([\w.]+)", line):
            yield "{}=={}".format(*bound.groups())


if __name__ == "__main__":
    print(*lower_bounds(Path(sys.argv[1]).read_text(encoding="utf-8")), sep="\n")
