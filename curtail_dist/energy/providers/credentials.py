"""Credentials: read from the environment or a file when they are needed, and shown nowhere."""

import os
from pathlib import Path

from curtail_dist.energy.providers.answers import ProviderFailure
from curtail_dist.errors import ConfigError


class Secret:
    """Where a credential is to be found. It may be replaced there while the agent runs."""

    def __init__(self, what: str, *, variable: str = "", file: Path | None = None) -> None:
        """Name it for people. Raises ConfigError where it is not there now."""
        self._what = what
        self._variable = variable
        self._file = file
        try:
            self.read()
        except ProviderFailure as error:
            raise ConfigError(str(error)) from error

    def read(self) -> str:
        """Return it. Raises ProviderFailure where it is not there any more."""
        if self._file is not None:
            try:
                found = self._file.read_text(encoding="utf-8").strip()
            except OSError as error:
                raise ProviderFailure(
                    f"the {self._what} cannot be read from {self._file} ({error.strerror}); write it there"
                ) from error
        else:
            found = os.environ.get(self._variable, "").strip()
        if not found:
            place = f"the file {self._file}" if self._file else f"the environment variable {self._variable}"
            raise ProviderFailure(f"the {self._what} is missing; put it into {place}")
        return found

    def __repr__(self) -> str:
        """Name it, and where it stands."""
        return f"Secret({self._what!r}, variable={self._variable!r}, file={self._file!r})"
