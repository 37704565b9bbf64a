"""Lets the tests import what makes the site's pages."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "docs" / "site"))
