"""Whether a run can be written to its directory, told in one line before anything is started."""

from pathlib import Path
from tempfile import TemporaryFile

from curtail_dist.errors import ConfigError

_PARTS = ("events", "logs")
"""What the processes of a run write below it, from the first on."""


def require_writable(directory: Path, key: str) -> None:
    """Make the directory where there is none. Raises ConfigError, naming it as `key`, where it is no use."""
    place = directory
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for place in (directory, *(directory / part for part in _PARTS)):
            if place == directory or place.exists():
                with TemporaryFile(dir=place):
                    pass
    except (OSError, ValueError) as error:  # a ValueError: no file can have this name
        reason = error.strerror if isinstance(error, OSError) else error
        below = "" if place == directory else f", {str(place)!r} of it"
        raise ConfigError(
            f"{key} is {str(directory)!r}{below} ({reason}); it must be a directory that can be written: "
            "give another, or mend this one"
        ) from error
