"""Hooks of MkDocs: README as first page, a reference of the library, links out of docs/.

Pages link to files of the repository, as readers of the repository expect. The site has copies of
such files under repository/; links to folders become plain text.
"""

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files

import mose

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
FIRST, COPIES = "index.md", "repository"
LINK = re.compile(r"(\[(?:[^\[\]]|\[[^\]]*\])*\])\(([^)\s]+)\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that have no file in docs/, and copies of the files that pages link to."""
    names = sorted(name for name in mose.__all__ if not name.startswith("_"))
    reference = "\n\n".join(f"::: mose.{name}" for name in names)
    files.append(File.generated(config, "api.md", content=f"# The library\n\n{reference}\n"))
    files.append(File.generated(config, FIRST, abs_src_path=str(ROOT / "README.md")))
    unread = [file.src_uri for file in files.documentation_pages()]
    while unread:
        page = unread.pop()
        for _, link in LINK.findall(files.src_uris[page].content_string):
            target = _target(link, page)
            if target is not None and target.is_file():
                place = _place(target)
                if place not in files.src_uris:
                    files.append(File.generated(config, place, abs_src_path=str(target)))
                    unread += [place] if place.endswith(".md") else []
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links to where the site has their targets."""
    here = page.file.src_uri

    def lead(match: re.Match[str]) -> str:
        text, link = match.groups()
        target = _target(link, here)
        if target is None:
            return match[0]
        if not target.is_file():
            return text[1:-1]
        _, sign, heading = link.partition("#")
        place = os.path.relpath(_place(target), PurePosixPath(here).parent)
        return f"{text}({place}{sign}{heading})"

    return LINK.sub(lead, markdown)


def _target(link: str, page: str) -> Path | None:
    """The file or folder of the repository that a page's link names; None for other links."""
    path = link.partition("#")[0]
    if not path or re.match(r"[a-z]+:", link):
        return None
    target = (_source(page).parent / path).resolve()
    return target if target.is_relative_to(ROOT) else None


def _source(page: str) -> Path:
    """The file of the repository that a page of the site shows."""
    if page == FIRST:
        return ROOT / "README.md"
    copied = PurePosixPath(page).parts[0] == COPIES
    return ROOT / page.removeprefix(f"{COPIES}/") if copied else DOCS / page


def _place(target: Path) -> str:
    """Where the site has a file of the repository."""
    if target == ROOT / "README.md":
        return FIRST
    if target.is_relative_to(DOCS):
        return target.relative_to(DOCS).as_posix()
    return f"{COPIES}/{target.relative_to(ROOT).as_posix()}"
