"""Complete the documentation site, as a hook of mkdocs: pages that stand elsewhere, and the API reference.

A link from page to page is written as in the repository and rewritten here; one to a file that is no page of the site
becomes its text.
"""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the tests read this file without mkdocs
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).resolve().parent.parent
ELSEWHERE = {
    "index.md": "README.md",
    "data_layouts.md": "data/README.md",
    "speed.md": "benchmarks/RESULTS.md",
    "benchmarks.md": "benchmarks/README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "tiny_t5.md": "dept_vl/embedded/tiny-t5/README.md",
}
"""Pages of the site by the files that they show."""
API = "api/index.md"
LINK = re.compile(r"(!?)\[([^\]\n]*)\]\(([^)\s#]*)(#[^)\s]*)?\)")
FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
LIST = re.compile(r"^([^\s\-*|>#].*)\n(?=- )", re.MULTILINE)
API_HEAD = """# API reference

From the docstrings; shapes stand in the signatures, as in `Float[Tensor, "batch seq d_model"]`. What most code needs:

    from dept_vl import AdaptedModel, load_adapter

- [AdaptedModel][dept_vl.serve.adapted.AdaptedModel] answers, captions, classifies and generates with saved adapters;
- [load_adapter][dept_vl.saved.foreign.load_adapter] reads one adapter, ours or another library's;
- [Adapter][dept_vl.adapters.contract.Adapter] is what a method of your own extends.

| part | |
|---|---|
"""
"""The overview's head; a row for each part of the package follows."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Complete the navigation: the pages of the API, and no page that is not there yet."""
    config.nav = [entry for each in config.nav or [] if (entry := _present(each))]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that stand elsewhere or are made of the package."""
    from mkdocs.structure.files import File

    for uri, source in ELSEWHERE.items():
        files.append(File.generated(config, uri, abs_src_path=str(REPOSITORY / source)))
    rows = [f"| [dept_vl.{part.stem}]({part.stem}.md) | {about(part)} |\n" for part in parts()]
    files.append(File.generated(config, API, content=API_HEAD + "".join(rows)))
    for part in parts():
        files.append(File.generated(config, f"api/{part.stem}.md", content=api_page(part)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite links that lead through the repository, and lists as the site's reader takes them."""
    uri = page.file.src_uri
    source = ELSEWHERE.get(uri, f"docs/{uri}")
    pages = {path: site for site, path in ELSEWHERE.items()}
    titles = dict(nav_titles(config.nav))

    def rewritten(found: re.Match[str]) -> str:
        mark, text, target, anchor = found.groups()
        if not target or ":" in target or uri.startswith("api/"):
            return found[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        site = pages.get(path, path.removeprefix("docs/"))
        if files.get_file_from_path(site) is None:
            return text
        if text.strip("`") == target:  # a path is a name in the repository alone
            text = titles.get(site, text)
        return f"{mark}[{text}]({posixpath.relpath(site, posixpath.dirname(uri) or '.')}{anchor or ''})"

    return LINK.sub(rewritten, "".join(map(_spaced, FENCE.split(markdown))))


def _spaced(markdown: str) -> str:
    """With an empty line between a paragraph and a list right behind it, which Markdown's Python reader wants."""
    return markdown if markdown.startswith("```") else LIST.sub(r"\1\n\n", markdown)


def parts() -> list[Path]:
    """The packages and top modules of dept_vl that a reference page shows."""
    package = REPOSITORY / "dept_vl"
    found = [path for path in sorted(package.iterdir()) if (path / "__init__.py").exists() or path.suffix == ".py"]
    return [path for path in found if not path.stem.startswith("__")]


def api_page(part: Path) -> str:
    """A page with every module of a package, under the first line of the package's docstring."""
    modules = [part] if part.suffix else sorted(path for path in part.rglob("*.py") if path.name != "__init__.py")
    names = (".".join(path.relative_to(REPOSITORY).with_suffix("").parts) for path in modules)
    head = "" if part.suffix else about(part)
    return "\n\n".join([f"# dept_vl.{part.stem}", head, *(f"::: {name}" for name in names)]) + "\n"


def about(part: Path) -> str:
    """The first line of its docstring."""
    source = (part if part.suffix else part / "__init__.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def _present(entry: Any) -> Any:
    """A nav entry without the pages that are not there, None where nothing is left."""
    if isinstance(entry, str):
        return entry if entry in ELSEWHERE or (REPOSITORY / "docs" / entry).exists() else None
    [(title, below)] = entry.items()
    if below == API:
        return {title: [API, *({part.stem: f"api/{part.stem}.md"} for part in parts())]}
    kept = [each for each in map(_present, below) if each] if isinstance(below, list) else _present(below)
    return {title: kept} if kept else None


def nav_titles(nav: Any, title: str = "") -> Iterator[tuple[str, str]]:
    """Every page that a nav names, with its title."""
    match nav:
        case str():
            yield nav, title
        case dict():
            for name, below in nav.items():
                yield from nav_titles(below, name)
        case list():
            for below in nav:
                yield from nav_titles(below, title)
