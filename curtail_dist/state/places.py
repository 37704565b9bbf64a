"""Names of snapshots, and what these tell without torch: which version of the run is the newest there is."""

import re

from curtail_dist.state.shelf import Shelf, open_shelf

MANIFEST = "manifest.json"
"""Written last and removed first: without it there is no snapshot."""
_NAME = re.compile(r"(?P<partial>\.?)(?P<number>\d{6,})-[0-9a-f]{8}(?(partial)|$)")


def name(number: int, hash: str) -> str:
    """Return the name of the snapshot of this version."""
    return f"{number:06d}-{hash[:8]}"


def number_of(place: str, *, whole: bool = False) -> int | None:
    """Return the version that a snapshot's name stands for, else None; with `whole` partial ones are none."""
    found = _NAME.match(place)
    if found is None or (whole and found["partial"]):
        return None
    return int(found["number"])


def finished(shelf: Shelf) -> dict[str, int]:
    """Return the names of all snapshots that were finished, and their versions. Raises OSError."""
    named = {place: number_of(place, whole=True) for place in shelf.names()}
    return {
        place: number for place, number in named.items() if number is not None and shelf.has(place, MANIFEST)
    }


def newest_number(url: str) -> int:
    """Return the newest version of which there is a snapshot below `url`, 0 without any. Raises OSError.

    Names alone are looked at: it may be torn, or of a chain that was dropped. One of version 0, in which
    nothing was trained, counts as none.
    """
    return max(finished(open_shelf(url)).values(), default=0)
