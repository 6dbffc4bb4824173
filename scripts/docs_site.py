"""MkDocs hooks: pages from the top folder, links that leave `docs/`, and the list of decisions.

README and its neighbours stay where GitHub shows them; the site gets them as pages. A link to source code becomes plain
code on the site, because the site holds no source.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parent.parent
TOP_PAGES: Final = ("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
_LINK: Final = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^)\s]+)\)")
_IMAGE: Final = re.compile(r"(!\[[^\]]*\]|src=|srcset=)([(\"])docs/")


def decisions() -> str:
    """Return the list of decisions as Markdown, in the order of their numbers."""
    pages = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))
    titles = [page.read_text().split("\n", 1)[0].removeprefix("# ") for page in pages]
    return "".join(f"- [{title}]({page.name})\n" for title, page in zip(titles, pages, strict=True))


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put every decision into the navigation, in the order of its number."""
    section = next(entry["Decisions"] for entry in config.nav or [] if "Decisions" in entry)
    section += [f"decisions/{page.name}" for page in sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the top folder."""
    for name in TOP_PAGES:
        files.append(File.generated(config, name, content=(ROOT / name).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, files: Files, **_: object) -> str:
    """Rewrite links: `docs/x.md` from a top page to `x.md`, and what is not on the site to plain text."""
    if page.file.src_uri in {"index.md", "tutorial.md"}:
        page.meta["hide"] = ["navigation"]  # they are alone in their sections
    if page.file.src_uri == "decisions/index.md":
        markdown += "\n" + decisions()
    top = page.file.src_uri in TOP_PAGES
    folder = "" if top else posixpath.join("docs", posixpath.dirname(page.file.src_uri))

    def rewrite(match: re.Match[str]) -> str:
        text, target = match.groups()
        if "://" in target or target.startswith(("#", "mailto:")):
            return match.group()
        path, _, anchor = target.partition("#")
        there = posixpath.normpath(posixpath.join(folder, path))
        on_site = "index.md" if there == "README.md" else there.removeprefix("docs/")
        if there.startswith("docs/") or there in (*TOP_PAGES, "README.md"):
            if files.get_file_from_path(on_site) is None and (ROOT / there).is_dir():
                on_site = posixpath.join(on_site, "index.md")
            link = posixpath.relpath(on_site, posixpath.dirname(page.file.src_uri) or ".")
            return f"[{text}]({link}{'#' + anchor if anchor else ''})"
        return text

    lines = re.split(r"(```.*?```)", markdown, flags=re.DOTALL)
    lines[::2] = [_LINK.sub(rewrite, part) for part in lines[::2]]
    return _IMAGE.sub(r"\1\2", "".join(lines)) if top else "".join(lines)
