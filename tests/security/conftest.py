"""A run with a secret, and real runs as those of tests/runtime play them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "runtime"))
