"""The run's secret: what every site of a run knows and nobody else."""

import base64
import binascii
import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from curtail_dist.config.run import RunConfig
from curtail_dist.errors import ConfigError
from curtail_dist.security.private import read_private

ENVIRONMENT = "CURTAIL_RUN_SECRET"
"""Variable that holds the secret where the run file names no file for it."""
LEAST_BYTES = 32
_SALT = b"curtail_dist run secret, schema 1"
_HASH_BYTES = hashlib.sha256().digest_size
_MOST_CHARACTERS = 4096
_DO = "make one with `curtail secret --out FILE` and give the same to all sites"


class RunSecret:
    """Random bytes from which every key of a run is derived. In no repr and no message; never pickled."""

    __slots__ = ("_key",)

    def __init__(self, secret: bytes) -> None:
        """Take it over. Raises ValueError for fewer than 32 bytes."""
        if len(secret) < LEAST_BYTES:
            raise ValueError(f"the run's secret has {len(secret)} bytes; it must have at least {LEAST_BYTES}")
        self._key = hmac.digest(_SALT, secret, "sha256")

    def derive(self, purpose: str, size: int = _HASH_BYTES) -> bytes:
        """Return `size` bytes that only holders of the secret can compute, others for each purpose.

        HKDF with SHA-256 (RFC 5869): the purpose is its `info`. Knowing what was derived for one purpose
        says nothing about another's, nor about the secret.
        """
        block, out = b"", b""
        for counter in range(1, -(-size // _HASH_BYTES) + 1):
            block = hmac.digest(self._key, block + purpose.encode() + bytes([counter]), "sha256")
            out += block
        return out[:size]

    @property
    def fingerprint(self) -> str:
        """Eight characters by which people see whether two sites have the same secret; nothing to hide."""
        return self.derive("fingerprint", 4).hex()

    def __repr__(self) -> str:
        """Hide it."""
        return "RunSecret(hidden)"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied."""
        raise TypeError("the run's secret is not written anywhere")


def new_secret() -> str:
    """Return a fresh secret as text."""
    return base64.b64encode(secrets.token_bytes(LEAST_BYTES)).decode()


def parse_secret(text: str, source: str) -> RunSecret:
    """Return the secret written as hex or base64. Raises ConfigError, which names `source` alone."""
    word = text.strip()
    if not word:
        raise ConfigError(f"{source} is empty; {_DO}")
    secret = _bytes_of(word) if len(word) <= _MOST_CHARACTERS else None
    if secret is None:
        raise ConfigError(f"{source} is neither base64 nor hex; {_DO}")
    if len(secret) < LEAST_BYTES:
        raise ConfigError(f"{source} has {len(secret)} bytes; it must have at least {LEAST_BYTES}: {_DO}")
    return RunSecret(secret)


def _bytes_of(word: str) -> bytes | None:
    try:
        return bytes.fromhex(word)
    except ValueError:
        pass
    try:
        return base64.b64decode(word.encode(), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return None


def read_secret(path: Path) -> RunSecret:
    """Return the secret that a file holds.

    Raises:
        ConfigError: The file is missing, empty, too short, or others than its owner and group may read it.
    """
    source = f"security.secret_file {path}"
    most = _MOST_CHARACTERS + len("\n")
    found = read_private(path, source, most_bytes=most, do=_DO, renew="make a new secret")
    return parse_secret(found.decode("ascii", "replace"), source)


def run_secret(config: RunConfig, environment: Mapping[str, str] | None = None) -> RunSecret | None:
    """Return the run's secret, from its file or else the environment; None where there is neither.

    Raises ConfigError for one that is no secret.
    """
    if config.security.secret_file is not None:
        return read_secret(config.security.secret_file)
    text = (os.environ if environment is None else environment).get(ENVIRONMENT)
    return None if text is None else parse_secret(text, ENVIRONMENT)
