"""The documentation site: every page has its place, and it builds without a warning."""

import os
import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parent.parent
SITE = runpy.run_path(str(REPOSITORY / "docs" / "site_pages.py"))
NAV = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]


def test_every_page_has_one_place_and_every_place_a_page():
    named = [page for page, _ in SITE["nav_titles"](NAV)]
    written = {path.relative_to(REPOSITORY / "docs").as_posix() for path in (REPOSITORY / "docs").rglob("*.md")}
    assert len(named) == len(set(named))
    assert set(named) == written | SITE["ELSEWHERE"].keys() | {SITE["API"]}


def test_what_is_shown_from_elsewhere_is_there():
    assert [source for source in SITE["ELSEWHERE"].values() if not (REPOSITORY / source).is_file()] == []


def test_the_reference_has_a_page_for_every_part_of_the_package():
    pages = {part.stem: SITE["api_page"](part) for part in SITE["parts"]()}
    assert pages["adapters"].count("\n::: ") == len(list((REPOSITORY / "dept_vl/adapters").rglob("*.py"))) - 1
    assert "::: dept_vl.model\n" in pages["model"]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("mkdocs") is None or find_spec("mkdocstrings") is None, reason="skipped: no extra docs")
def test_the_site_builds_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr[-3000:]
    built = tmp_path / "site"
    model = (built / "api/model/index.html").read_text(encoding="utf-8")
    assert "batch seq d_model" in model
    home = (built / "index.html").read_text(encoding="utf-8")
    assert 'href="methods/"' in home and 'href="docs/' not in home
    assert "<strong>supported</strong>" in (built / "reproduction/index.html").read_text(encoding="utf-8")
    assert [path.name for path in built.rglob("*.html") if "fonts.googleapis" in path.read_text(encoding="utf-8")] == []
