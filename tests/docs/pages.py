"""The documentation as tests read it: its files, and the commands and blocks of code in them."""

import re
import shlex
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]

PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "docs" / "decisions").glob("*.md"),
        *(ROOT / "launch").glob("*/README.md"),
    ]
)
GENERATED = {ROOT / "docs" / "configuration.md", ROOT / "docs" / "commands.md"}
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.M | re.S)
_OURS = re.compile(
    r"(?:\.venv/bin/)?(curtail|curtail-sim|make|python -m (?:nanochat|curtail_launch)\.[a-z_]+)(?: |$)"
)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return [text for _, kind, text in _FENCE.findall(path.read_text(encoding="utf-8")) if kind == language]


def prose(path: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", path.read_text(encoding="utf-8"))


def typed(path: Path) -> Iterator[str]:
    """The commands that a reader would type as they stand: lines of blocks."""
    text = path.read_text(encoding="utf-8")
    return _ours(
        line.strip().removeprefix("$ ") for line in text.splitlines() if re.match(r" {4,}\S|\$ ", line)
    )


def mentioned(path: Path) -> Iterator[str]:
    """The commands that a text speaks of, perhaps without what they need."""
    return _ours(re.findall(r"`([^`\n]+)`", prose(path)))


def _ours(lines: Iterable[str]) -> Iterator[str]:
    for said in lines:
        line = re.split(r" {2,}(?=\S)|\s+(?:->|#|&&|&$|\|)", said.strip())[0]
        if _OURS.match(line) and " " in line:
            yield line


def words(command: str) -> list[str]:
    """A command's words, its placeholders replaced by what a user could have put there."""
    plain = command.replace("[", "").replace("]", "").replace("...", "")
    return shlex.split(plain)


def indented(path: Path) -> list[str]:
    """The blocks that are set in by four blanks or more."""
    found = re.findall(r"(?:^ {4,}\S.*\n(?:[ \t]*\n(?= {4}))*)+", prose(path), re.M)
    return [textwrap.dedent(block) for block in found]
