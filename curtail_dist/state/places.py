"""Names of snapshots, and what these tell without torch: whose they are, and which version is the newest.

A place is one run's, which a note there names: of two runs in one place each would take the other's snapshots
for its own that fell out of retention.
"""

import json
import re

from curtail_dist.errors import ConfigError
from curtail_dist.state.shelf import Create, Shelf, open_shelf

MANIFEST = "manifest.json"
"""Written last and removed first: without it there is no snapshot."""
_NOTE = ("run", "run.json")
"""Names whose place it is: {"schema": 1, "run": NAME}."""
_NOTE_LIMIT = 2**16
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


def newest_of(url: str, run: str) -> int:
    """Return a run's `newest_number`. Raises ConfigError if what is below `url` is another's, and OSError."""
    _refuse_of_another(url, run)
    return newest_number(url)


def _refuse_of_another(url: str, run: str) -> None:
    owner = _owner(open_shelf(url), url)
    if owner not in (None, run):
        raise ConfigError(
            f"snapshots below {url} are those of run {owner!r}, and each run removes what it needs no more; "
            f"run {run!r} must have a place of its own: give it another state.url or run.directory, or move "
            f"what is there away"
        )


def claim(url: str, run: str) -> None:
    """Have the place be this run's, from now on. Raises ConfigError if it is another's, and OSError."""
    shelf = open_shelf(url)
    if _owner(shelf, url) is None:
        group, note = _NOTE

        def save(create: Create) -> None:
            with create(note) as file:
                file.write(json.dumps({"schema": 1, "run": run}).encode())

        shelf.write(group, note, save)
    _refuse_of_another(url, run)  # of two that came at once, one has it


def _owner(shelf: Shelf, url: str) -> str | None:
    try:
        with shelf.open(*_NOTE) as file:
            return str(json.loads(file.read(_NOTE_LIMIT))["run"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise OSError(
            f"{'/'.join(_NOTE)} below {url} is garbled ({error!r}): it must name a run, remove it"
        ) from error
