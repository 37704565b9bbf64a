"""Results that are written again and again, and are whole whenever the program is ended."""

import json
from pathlib import Path
from typing import Any


def keep(result: dict[str, Any], out: Path) -> None:
    """Put the result in place of what is there."""
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f"{out.name}.part")
    part.write_text(json.dumps(result, indent=1) + "\n")
    part.replace(out)
