"""What a client of etcd needs to be let in: whom it trusts, its certificate, its user and password."""

import logging
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from curtail_dist.config import TlsConfig
from curtail_dist.errors import ConfigError
from curtail_dist.security.private import read_private

log = logging.getLogger(__name__)

_MOST_BYTES = 4096


class PasswordFile:
    """Where a password stands. It may be replaced there while the process runs. In no repr and no message."""

    def __init__(self, path: Path) -> None:
        """Name the file. Raises ConfigError as `read` does."""
        self._path = path
        self.read()

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def read(self) -> str:
        """Return the password, without white space around it.

        Raises ConfigError where the file is missing, empty, or others than its owner and group may read it.
        """
        what, do = f"the password file {self._path}", "write etcd's password there, and nothing else"
        raw = read_private(self._path, what, most_bytes=_MOST_BYTES, do=do, renew="change the password")
        found = raw.decode("utf-8", "replace").strip()
        if not 0 < len(found) <= _MOST_BYTES:
            raise ConfigError(f"{what} is empty or holds more than a line; {do}")
        return found


@dataclass(frozen=True, kw_only=True)
class Access:
    """How connections to etcd are opened, and as whom calls are made. By default in clear, as nobody."""

    context: ssl.SSLContext | None = field(default=None, repr=False)
    """Whom to trust and what to show, for TLS; None: no TLS."""
    user: str = ""
    password: PasswordFile | None = None


def open_access(tls: TlsConfig | None = None, user: str = "", password_file: Path | None = None) -> Access:
    """Read what the files hold. Raises ConfigError for one that is missing or unfit, and names it."""
    if (user == "") != (password_file is None):
        raise ConfigError(
            f"etcd's user is {user!r}, the password file {str(password_file or '')!r}; give both or neither"
        )
    if user and tls is None:
        log.warning("etcd's password of user %s crosses the network in clear: give its TLS files, too", user)
    return Access(
        context=None if tls is None else tls_context(tls),
        user=user,
        password=None if password_file is None else PasswordFile(password_file),
    )


def tls_context(tls: TlsConfig) -> ssl.SSLContext:
    """Return the context of a client that trusts one authority and checks the host it talks to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # etcd speaks HTTP/2 too, which http.client does not.
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_verify_locations(cafile=tls.ca)
    except OSError as error:
        raise ConfigError(
            f"the authority's certificate {tls.ca} cannot be used ({_why(error)}); it must be the PEM "
            "file of the authority that signed etcd's certificate"
        ) from error
    if tls.cert is not None:
        try:
            context.load_cert_chain(tls.cert, tls.key)
        except OSError as error:
            raise ConfigError(
                f"the certificate {tls.cert} with the key {tls.key} cannot be used ({_why(error)}); "
                "they must be PEM files that belong together"
            ) from error
    return context


def _why(error: OSError) -> str:
    return error.strerror or str(error)
