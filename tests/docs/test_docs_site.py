"""The site builds without a warning, loads nothing from elsewhere, and its pages are current and lead on."""

import os
import re
import subprocess
import sys

import generate
import pytest
import yaml
from pages import PAGES, ROOT, named, prose

import curtail_dist

pytestmark = pytest.mark.slow
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#[^)\s]*)?\)")
BUILD_S = 110
CONFIG = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


def build(out, *options):
    # Not with --quiet: mkdocs then counts no warnings, and none is an error.
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(out), *options],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=BUILD_S,
        check=False,
    )


def loaded(html: str) -> list[str]:
    """What a browser fetches of itself to show a page."""
    tags = re.findall(r"<(?:link|script|img|iframe|source|video)\b[^>]*>", html)
    kept = [tag for tag in tags if 'rel="canonical"' not in tag]
    return [address for tag in kept for address in re.findall(r'(?:src|href)="([^"]*)"', tag)]


@pytest.mark.timeout(120)
def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path):
    done = build(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        outside = [
            one for one in loaded(page.read_text(encoding="utf-8")) if re.match(r"(?:https?:)?//", one)
        ]
        assert not outside, f"{page.name} loads {outside}"
    for sheet in tmp_path.rglob("*.css"):
        assert not re.search(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", sheet.read_text(encoding="utf-8"))
    reference = (tmp_path / "reference.html").read_text(encoding="utf-8")
    missing = [
        name
        for name in curtail_dist.__all__
        if not re.search(rf'id="curtail_dist\.[\w.]*\b{name}"', reference)
    ]
    assert missing == []


def test_warnings_are_errors_and_links_and_anchors_are_checked():
    settings = yaml.safe_load(CONFIG)
    assert settings["strict"] is True
    assert (
        set(settings["validation"]["links"].values())
        == set(settings["validation"]["nav"].values())
        == {"warn"}
    )
    assert settings["theme"]["font"] is False


def test_every_file_that_is_linked_to_is_there():
    broken = [
        f"{named(page)}: {link}"
        for page in PAGES
        for link in LINK.findall(prose(page))
        if link and not (page.parent / link).exists()
    ]
    assert broken == []


def test_every_page_can_be_reached_from_the_navigation():
    def places(entry):
        if isinstance(entry, str):
            return [entry]
        return [
            place for part in (entry.values() if isinstance(entry, dict) else entry) for place in places(part)
        ]

    in_nav = set(places(yaml.safe_load(CONFIG)["nav"]))
    assert {path.name for path in (ROOT / "docs").glob("*.md")} <= in_nav


@pytest.mark.parametrize("name", generate.PAGES)
def test_a_page_that_is_made_from_code_is_current(name):
    assert generate.current(name), f"docs/{name} is not current: python docs/site/generate.py"
