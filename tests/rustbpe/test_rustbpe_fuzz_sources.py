"""The fuzzer compiles the crate's sources in, by name; it needs nightly Rust, so no build here misses one."""

import re
from pathlib import Path

RUSTBPE = Path(__file__).parents[2] / "rustbpe"


def test_the_fuzzer_names_the_sources_that_there_are():
    library = RUSTBPE / "fuzz" / "src" / "lib.rs"
    named = {
        (library.parent / path).resolve() for path in re.findall(r'#\[path = "(.+?)"\]', library.read_text())
    }
    sources = RUSTBPE / "src"
    modules = {path for path in sources.glob("*.rs") if path.name != "lib.rs"} | set(sources.glob("*/mod.rs"))
    assert named == modules - {sources / "python" / "mod.rs"}
