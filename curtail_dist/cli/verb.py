"""What a verb of `curtail` is."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Verb:
    """One verb; other packages add theirs by an entry point in the group `curtail.verbs`."""

    name: str
    help: str
    """One line without a full stop."""
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    """Do it and return the exit code; a CurtailError becomes one line on stderr and 1, a UserError 2."""
