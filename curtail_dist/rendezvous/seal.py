"""The run's secret on what a rendezvous keeps in the store: made by a node of the run, and for this key."""

import hmac

from curtail_dist.security.secret import RunSecret

_MARK = b"curtail-sealed-1\n"
"""How sealed values begin; what torch pickles begins otherwise."""
_PURPOSE = "rendezvous"
_MAC_BYTES = 32


class SealBroken(Exception):
    """A value of the rendezvous was not made by a node with the same secret, for this key."""


class Seal:
    """Puts HMAC-SHA256 before values and checks it. Without a secret, values are as they are.

    The code covers the key's name, so that a value cannot be taken from one key, or rendezvous, to another.
    It does not say which of the values that a key had is the newest: the store does.
    """

    def __init__(self, secret: RunSecret | None) -> None:
        """Derive the code's key from the run's secret."""
        self._key = secret.derive(_PURPOSE) if secret is not None else None

    def wrap(self, key: str, value: bytes) -> bytes:
        """Return what to store under `key`."""
        return value if self._key is None else _MARK + self._code(self._key, key, value) + value

    def unwrap(self, key: str, stored: bytes) -> bytes:
        """Return the value that is stored under `key`. Raises SealBroken; then nobody must read it."""
        if self._key is None:
            if stored.startswith(_MARK):
                raise SealBroken(
                    f"{key} was written by a node that has the run's secret and this one has none; give "
                    "--rdzv-conf secret_file=FILE at all nodes or at none"
                )
            return stored
        code, value = stored[len(_MARK) :][:_MAC_BYTES], stored[len(_MARK) + _MAC_BYTES :]
        right = stored.startswith(_MARK) and hmac.compare_digest(code, self._code(self._key, key, value))
        if not right:
            raise SealBroken(
                f"{key} was not written with this run's secret and is not read: give all nodes the same "
                "secret_file; if they have it, somebody else writes to etcd: close it by TLS and users"
            )
        return value

    @staticmethod
    def _code(secret: bytes, key: str, value: bytes) -> bytes:
        name = key.encode(errors="surrogateescape")
        return hmac.digest(secret, len(name).to_bytes(8, "big") + name + value, "sha256")
