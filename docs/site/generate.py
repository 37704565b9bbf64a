"""Writes the pages that are made from code; with --check, says by its exit code whether they are current."""

import argparse
import sys
from pathlib import Path

import commands
import runfile

DOCS = Path(__file__).resolve().parents[1]
PAGES = {"configuration.md": runfile.page, "commands.md": commands.page}


def text_of(name: str) -> str:
    """Return what a page must be."""
    return PAGES[name]().rstrip() + "\n"


def current(name: str) -> bool:
    """Return whether a page is what it must be."""
    path = DOCS / name
    return path.exists() and path.read_text(encoding="utf-8") == text_of(name)


def main() -> int:
    """Write the pages, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 where a page is not current")
    check = parser.parse_args().check
    old = [name for name in PAGES if not current(name)]
    for name in old:
        if not check:
            (DOCS / name).write_text(text_of(name), encoding="utf-8")
        told = "is not current: python docs/site/generate.py" if check else "written"
        sys.stdout.write(f"{name} {told}\n")
    return int(check and bool(old))


if __name__ == "__main__":
    sys.exit(main())
