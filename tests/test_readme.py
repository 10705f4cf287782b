"""What the README tells a stranger to type, or to open, is there."""

import re
import runpy
from pathlib import Path

import pytest
import torch

from dept_vl.adapters import ADAPTERS, from_config

REPOSITORY = Path(__file__).resolve().parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PAGES = [*sorted((REPOSITORY / "docs").glob("*.md")), REPOSITORY / "data" / "README.md", REPOSITORY / "CONTRIBUTING.md"]
DOCS = [README, *(path.read_text(encoding="utf-8") for path in PAGES)]
NAMED = r"(?<![\w/])(?:scripts|configs|docs|tests|dept_vl)/[\w/]+\.\w+"


@pytest.mark.parametrize("path", sorted(set(re.findall(NAMED, "\n".join(DOCS)))))
def test_every_file_that_the_docs_name_exists(path):
    assert (REPOSITORY / path).is_file()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"(?:`| {4})make ([a-z-]+)\b", "\n".join(DOCS)))))
def test_every_make_target_that_the_docs_name_exists(target):
    assert re.search(rf"^{target}:", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)


def test_the_list_of_files_is_up_to_date():
    generated = runpy.run_path(str(REPOSITORY / "docs" / "list_files.py"))
    assert generated["PAGE"].read_text(encoding="utf-8") == generated["page"](), "run: python docs/list_files.py"


def test_the_readme_maps_every_folder_of_the_package():
    package = REPOSITORY / "dept_vl"
    folders = {path.name for path in package.iterdir() if (path / "__init__.py").exists()}
    assert folders == set(re.findall(r"`dept_vl/(\w+)`", README))


def test_the_versions_that_the_readme_names_are_the_tested_ones():
    [line] = re.findall(r"^- Tested with (.*?): `constraints", README, re.MULTILINE | re.DOTALL)
    named = re.findall(r"(\w+) (\d[\d.]*\d)", line)
    assert len(named) == 5
    tested = (REPOSITORY / "constraints.txt").read_text().split()
    assert {f"{name}=={version}" for name, version in named} <= set(tested)


def test_the_readme_is_short_and_every_page_opens_with_a_command():
    assert README.count("\n") <= 150
    pages = [path for path in (REPOSITORY / "docs").glob("*.md") if path.name != "decisions.md"]
    for page in pages:
        opening = "\n".join(page.read_text(encoding="utf-8").splitlines()[:12])
        assert re.search(r"^    \S|`python |`make ", opening, re.MULTILINE), f"{page.name}: no command to copy"


def test_the_example_of_an_adapter_is_an_adapter(monkeypatch):
    monkeypatch.setattr(ADAPTERS, "_entries", dict(ADAPTERS))
    [code] = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "methods.md").read_text(), re.DOTALL)
    exec(code, {})  # our own page
    adapter = ADAPTERS["scaled_pt"](torch.randn(5, 8), num_virtual_tokens=3, gain=2.0)
    assert torch.equal(adapter.fold().prompt, 2 * adapter.prompt)
    embeds, mask = adapter(torch.randn(2, 4, 8), torch.ones(2, 4, dtype=torch.long))
    assert embeds.shape == (2, 7, 8) and mask.sum() == 14
    grouped = [weight for group in adapter.param_groups().values() for weight in group]
    assert {*map(id, grouped)} == {*map(id, adapter.parameters())}
    again = from_config(ADAPTERS.name_of(adapter), adapter.token_dim, adapter.config(), adapter.state())
    again.load_state_dict(adapter.state_dict())
    assert again.config() == {"num_virtual_tokens": 3, "gain": 2.0} and torch.equal(again.prompt, adapter.prompt)


def test_no_placeholder_is_left():
    assert not [text for text in DOCS if "@@" in text or "TODO" in text]
