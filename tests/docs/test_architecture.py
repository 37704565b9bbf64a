"""ARCHITECTURE.md's tree is that of the folders."""

import re
from pathlib import Path

import pytest
from pages import ROOT

PACKAGES = (
    "curtail_dist",
    "launch/curtail_launch",
    "nanochat",
    "kernels/curtail_kernels",
    "docs/site",
    "rustbpe/src",
)
_LINE = re.compile(r"^( {4,})(\S+\.(?:py|rs)|\S+/)(?:\s|$)")


def drawn() -> set[str]:
    """The Python and Rust files of the tree, by their paths."""
    found, above = set(), []
    for line in (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        depth, name = len(match[1]), match[2]
        above = [(place, folder) for place, folder in above if place < depth]
        if name.endswith("/"):
            above.append((depth, name))
        else:
            found.add("".join(folder for _, folder in above) + name)
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_the_tree_names_each_file_that_there_is_and_no_other(package):
    files = (file for file in (ROOT / package).rglob("*") if file.suffix in {".py", ".rs"})
    there = {str(file.relative_to(ROOT)) for file in files}
    named = {path for path in drawn() if Path(path).is_relative_to(package)}
    inits = {path for path in there if path.endswith("__init__.py")}
    assert there - inits <= named, "files that the tree lacks"
    assert named <= there, "files that are gone"
