"""Makes the repository's own pages, and results that pages link to, part of the site."""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Pages outside of docs/, and where they are in the site."""
INDEX = "docs/decisions/"
_LINK = re.compile(r"\[(?P<text>[^\[\]]*)\]\((?!https?:|mailto:|#)(?P<to>[^)#\s]+)(?P<at>#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add pages outside of docs/, the list of decisions, and what else pages link to."""
    sources = {f"docs/{file.src_uri}": file.content_string for file in files.documentation_pages()}
    for source, place in PAGES.items():
        if (ROOT / source).exists():
            sources[source] = (ROOT / source).read_text(encoding="utf-8")
            files.append(File.generated(config, place, content=sources[source]))
    files.append(File.generated(config, "decisions/index.md", content=_decisions()))
    for source, text in sources.items():
        for found in _LINK.finditer(text):
            place = placed(_target(source, found["to"]))
            outside = ROOT / _target(source, found["to"])
            if place.startswith("repository/") and outside.is_file() and place not in files.src_uris:
                files.append(File.generated(config, place, abs_src_path=str(outside)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links between the repository's files to their places in the site; a folder has none."""
    del config, files
    own = page.file.src_uri
    source = next((name for name, place in PAGES.items() if place == own), f"docs/{own}")

    def pointed(found: re.Match[str]) -> str:
        place = placed(_target(source, found["to"]))
        if (ROOT / place.removeprefix("repository/")).is_dir():
            return found["text"]
        return (
            f"[{found['text']}]({posixpath.relpath(place, posixpath.dirname(own) or '.')}{found['at'] or ''})"
        )

    return _LINK.sub(pointed, markdown)


def placed(path: str) -> str:
    """Return where a file of the repository is in the site; `path` begins at the repository's root."""
    if path in PAGES:
        return PAGES[path]
    if path == INDEX.rstrip("/"):
        return "decisions/index.md"
    inside = path.startswith("docs/") and not path.startswith("docs/site/")
    return path.removeprefix("docs/") if inside else f"repository/{path}"


def _target(source: str, link: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), link))


def _decisions() -> str:
    lines = [
        "# Decisions",
        "",
        "Why things are as they are; what was considered, and when to look again.",
        "",
    ]
    for path in sorted((ROOT / INDEX).glob("[0-9]*.md")):
        title = path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
        lines.append(f"- [{title}]({path.name})")
    return "\n".join(lines)
