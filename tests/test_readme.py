"""What the README tells a stranger to type, or to open, is there."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
DOCS = [README, *(path.read_text(encoding="utf-8") for path in sorted((REPOSITORY / "docs").glob("*.md")))]


@pytest.mark.parametrize("path", sorted(set(re.findall(r"(?:scripts|configs|docs)/[\w/]+\.\w+", "\n".join(DOCS)))))
def test_every_file_that_the_docs_name_exists(path):
    assert (REPOSITORY / path).is_file()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([a-z-]+)\b", "\n".join(DOCS)))))
def test_every_make_target_that_the_docs_name_exists(target):
    assert re.search(rf"^{target}:", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)


def test_the_readme_lists_every_file_of_the_package_once():
    listed = re.findall(r"^\| `([\w/]+\.py)` \|", README, re.MULTILINE)
    package = {path.relative_to(REPOSITORY / "dept_vl").as_posix() for path in (REPOSITORY / "dept_vl").rglob("*.py")}
    scripts = {f"scripts/{path.name}" for path in (REPOSITORY / "scripts").glob("*.py")}
    assert sorted(listed) == sorted({name for name in package if not name.endswith("__init__.py")} | scripts)


def test_no_placeholder_is_left():
    assert not [text for text in DOCS if "@@" in text or "TODO" in text]
