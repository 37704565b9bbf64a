"""How the run file names what is the user's own: MODULE:NAME, which whoever needs it imports."""

import re

OWN = "or MODULE:NAME of your own"
"""What else a kind may be."""
_OWN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def is_own(kind: str) -> bool:
    """Whether a kind names something of the user's own."""
    return _OWN.fullmatch(kind) is not None
