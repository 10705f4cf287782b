"""What the README tells a stranger to type, or to open, is there."""

import re
import runpy
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


def test_the_list_of_files_is_up_to_date():
    generated = runpy.run_path(str(REPOSITORY / "docs" / "list_files.py"))
    assert generated["PAGE"].read_text(encoding="utf-8") == generated["page"](), "run: python docs/list_files.py"


def test_the_readme_maps_every_folder_of_the_package():
    package = REPOSITORY / "dept_vl"
    folders = {path.name for path in package.iterdir() if (path / "__init__.py").exists()}
    assert folders == set(re.findall(r"`dept_vl/(\w+)`", README))


def test_no_placeholder_is_left():
    assert not [text for text in DOCS if "@@" in text or "TODO" in text]
