"""The lab's etcd: real, on a data directory that outlives it, so that it can be killed and brought back."""

import os
import signal
import time
from pathlib import Path

from curtail_dist.coordination import EmbeddedEtcd


class Server:
    """One etcd between `start` and `close`; always at the same endpoint."""

    def __init__(self, folder: Path) -> None:
        self._data = folder / "etcd"
        self._etcd = EmbeddedEtcd(self._data)
        self.endpoint = ""

    def start(self) -> None:
        """Start it, or start it again on its data; returns when it answers."""
        port = int(self.endpoint.rpartition(":")[2]) if self.endpoint else None
        self._etcd = EmbeddedEtcd(self._data, port=port)
        self._etcd.start()
        self.endpoint = self._etcd.endpoint

    def kill(self) -> float:
        """SIGKILL it; return the moment (UTC, seconds)."""
        now = time.time()
        os.kill(self._etcd.pid, signal.SIGKILL)
        self._etcd.stop()
        return now

    def close(self) -> None:
        """Stop it; idempotent."""
        self._etcd.stop()
