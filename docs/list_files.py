"""Writes docs/files.md: every module of the package and every script with the first line of its docstring.

python docs/list_files.py
"""

import ast
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PAGE = REPOSITORY / "docs" / "files.md"
HEAD = """# The files

Find the file to open, by what it does. Written by `python docs/list_files.py` from the first lines of the docstrings; a
test fails when it is out of date.
"""


def page() -> str:
    """The page's text, a table for each folder."""
    modules = [*sorted((REPOSITORY / "dept_vl").rglob("*.py")), *sorted((REPOSITORY / "scripts").glob("*.py"))]
    folders: dict[Path, list[Path]] = {}
    for path in modules:
        if path.name != "__init__.py" or path.parent.name == "embedded":
            folders.setdefault(path.parent, []).append(path)
    tables = [_table(folder, files) for folder, files in sorted(folders.items())]
    return "\n".join([HEAD, *tables])


def _table(folder: Path, files: list[Path]) -> str:
    package = folder / "__init__.py"
    about = f"{_first_line(package)}\n\n" if package.exists() else ""
    rows = "".join(f"| `{path.name}` | {_first_line(path)} |\n" for path in files)
    return f"## {folder.relative_to(REPOSITORY).as_posix()}\n\n{about}| | |\n|---|---|\n{rows}"


def _first_line(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0].rstrip(".")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
