"""A local etcd that lives as long as its owner: for the demo, development and tests."""

import logging
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from curtail_dist.config import TlsConfig
from curtail_dist.coordination.access import open_access
from curtail_dist.coordination.answers import UnknownCaller
from curtail_dist.coordination.etcd_binary import find_etcd
from curtail_dist.coordination.etcd_command import etcd_command, etcd_environment
from curtail_dist.coordination.gateway import Gateway
from curtail_dist.errors import CoordinationError, StoreUnavailable, UserError
from curtail_dist.security.opening import is_here
from curtail_dist.units import Seconds

log = logging.getLogger(__name__)

_HOST = "127.0.0.1"
_ANY = {"0.0.0.0": _HOST, "::": "[::1]"}
"""Addresses that stand for all of a machine's, and where this machine reaches itself then."""
_ATTEMPTS = 5
"""Starts with fresh ports before giving up: another process may take a free port between look and use."""
_POLL_S = 0.02
_ANSWER_S = 1.0
"""Time that etcd gets to answer when it is asked whether it serves."""
_STOP_S = 5.0
"""Time that etcd gets to end in order before it is killed."""
_GUARD = (
    'read -r word; [ "$word" = done ] && exit; [ -z "$1" ] || kill -9 "$1"; [ -z "$2" ] || rm -rf -- "$2"'
)


class EmbeddedEtcd:
    """One etcd on this machine, running between `start` and `stop` (or inside `with`).

    It cannot outlive this process: a guard process holds the read end of a pipe, and when the pipe closes
    without a word, however this process died, the guard kills etcd and removes its temporary directory.
    (A parent-death signal would fire already when the *thread* that started etcd ends, and would leave the
    directory.) Both run in process groups of their own, so that Ctrl-C reaches the owner alone, which then
    stops etcd last.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        host: str = _HOST,
        port: int | None = None,
        tls: TlsConfig | None = None,
        election_timeout_ms: int = 1000,
        start_timeout_s: Seconds = 20.0,
    ) -> None:
        """Say how to run; nothing starts yet.

        Args:
            data_dir: etcd's data, kept after `stop`; its log is written beside it. Default: a temporary
                directory that `stop` removes.
            host: Address to listen on. Beyond loopback it takes `tls`.
            port: Port of the client API. Default: any free one.
            tls: The authority's certificate, and etcd's own with its key, which must serve as a client's
                as well (`certificates.write_keys` makes such). It then asks clients for one of the same
                authority. Default: in clear.
            election_timeout_ms: etcd grants leases of at least 1.5 times this, in whole seconds, and begins
                to answer after about this long.
            start_timeout_s: Deadline of `start`.
        """
        if tls is None and not is_here(host):
            raise UserError(
                f"etcd is to listen on {host} without TLS; give it certificates (`curtail keys new`), or "
                "let it listen on 127.0.0.1"
            )
        self._data_dir = data_dir
        self._host = host
        self._tls = tls
        self._port = port
        self._election_timeout_ms = election_timeout_ms
        self._start_timeout_s = start_timeout_s
        self._scratch: Path | None = None
        self._etcd: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._endpoint: str | None = None

    @property
    def endpoint(self) -> str:
        """HOST:PORT of the client API, from `start` to `stop`. Raises CoordinationError otherwise."""
        if self._endpoint is None:
            raise CoordinationError("this etcd is not running; use it inside `with EmbeddedEtcd()`")
        return self._endpoint

    @property
    def pid(self) -> int:
        """Process id of etcd, for whoever injects faults."""
        if self._etcd is None:
            raise CoordinationError("this etcd is not running; use it inside `with EmbeddedEtcd()`")
        return self._etcd.pid

    def start(self) -> Self:
        """Start etcd and return once it answers.

        Raises UserError when the given port is taken, CoordinationError when etcd is not to be found or does
        not come up; then nothing of it is left running.
        """
        binary = find_etcd()
        if self._data_dir is None:
            self._scratch = Path(tempfile.mkdtemp(prefix="curtail-etcd-"))
        try:
            self._endpoint = self._start(binary, self._port)
        except BaseException:
            self.stop()
            raise
        return self

    def require_running(self) -> None:
        """Raise CoordinationError, with the end of its log, where the process has ended by itself.

        Whether it answers is not asked: on a busy disk, or after a machine's sleep, it takes its time, and
        its clients wait for it.
        """
        if not self._running():
            code = "" if self._etcd is None else f" with code {self._etcd.returncode}"
            said = _tail(self._log_file)
            raise CoordinationError(
                f"etcd has ended{code}; correct what its log says and start it again:\n{said}"
            )

    def kill(self) -> None:
        """End etcd as a crash does and reap it; data and endpoint stay for `restart`.

        Raises CoordinationError when it is not running.
        """
        if self._etcd is None:
            raise CoordinationError("this etcd is not running; start it before it can be killed")
        self._etcd.kill()
        # Until it is reaped its process id cannot be given to another, which the guard would kill.
        self._dismiss_guard()
        if self._scratch is not None:
            self._guard = _guard("", self._scratch)
        self._etcd.wait()
        self._etcd = None

    def restart(self) -> None:
        """Start etcd anew on the same data and port, whether it runs or was killed; return once it answers.

        Raises as `start` does, but leaves the data until `stop`.
        """
        port = int(self.endpoint.rpartition(":")[2])
        self._end_processes()
        self._start(find_etcd(), port)

    def stop(self) -> None:
        """End etcd, reap it, and remove the temporary directory; idempotent, takes a few seconds at most."""
        self._endpoint = None
        self._end_processes()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()

    @property
    def _data(self) -> Path:
        return (self._data_dir or (self._scratch or Path()) / "data").absolute()

    @property
    def _log_file(self) -> Path:
        return self._data.with_name(f"{self._data.name}.log")

    def _start(self, binary: Path, port: int | None) -> str:
        data, log_file = self._data, self._log_file
        deadline = time.monotonic() + self._start_timeout_s
        try:
            data.parent.mkdir(parents=True, exist_ok=True)
            log_file.open("ab").close()
        except OSError as error:
            raise UserError(
                f"etcd's data directory is {data}, beside which its log {log_file.name} cannot be written "
                f"({error.strerror}); name another"
            ) from error
        for _ in range(_ATTEMPTS):
            client_port, peer_port = _free_port(self._host, port), _free_port(_HOST, None)
            command = etcd_command(
                binary,
                data,
                f"{_bracketed(self._host)}:{client_port}",
                f"{_HOST}:{peer_port}",
                election_ms=self._election_timeout_ms,
                tls=self._tls,
            )
            self._launch(command, log_file)
            endpoint = f"{_ANY.get(self._host, _bracketed(self._host))}:{client_port}"
            if self._comes_up(endpoint, deadline):
                return endpoint
            self._end_processes()
            if "address already in use" not in log_file.read_text(errors="replace"):
                break
        raise CoordinationError(
            f"etcd did not start ({binary}); correct what its log says and start it again:\n{_tail(log_file)}"
        )

    def _launch(self, command: list[str], log_file: Path) -> None:
        with log_file.open("wb") as output:
            self._etcd = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=etcd_environment(os.environ),
                process_group=0,
            )
        self._guard = _guard(str(self._etcd.pid), self._scratch)

    def _comes_up(self, endpoint: str, deadline: float) -> bool:
        """Wait until etcd has a leader and serves; False when it ends or the deadline passes first."""
        while self._running() and time.monotonic() < deadline:
            try:
                self._ask(endpoint)
                return self._running()
            except StoreUnavailable:
                time.sleep(_POLL_S)
        return False

    def _ask(self, endpoint: str) -> None:
        gateway = Gateway((endpoint,), timeout_s=_ANSWER_S, access=open_access(self._tls))
        try:
            gateway.call("kv/range", {"key": "AA=="}, repeatable=True)
        except UnknownCaller:
            log.debug("etcd at %s answers, but not us: its authentication is on", endpoint)
        finally:
            gateway.close()

    def _running(self) -> bool:
        return self._etcd is not None and self._etcd.poll() is None

    def _end_processes(self) -> None:
        # The guard first: it must never kill by a process id that has been given to another.
        self._dismiss_guard()
        if self._etcd is not None:
            self._etcd.terminate()
            try:
                self._etcd.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._etcd.kill()
                self._etcd.wait()
            self._etcd = None

    def _dismiss_guard(self) -> None:
        if self._guard is None:
            return
        try:
            self._guard.communicate(b"done\n", timeout=_STOP_S)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            self._guard.communicate()
        self._guard = None


def _guard(pid: str, scratch: Path | None) -> subprocess.Popen[bytes]:
    """Start what kills process `pid` ("": none) and removes `scratch` when this process is gone."""
    return subprocess.Popen(
        ["/bin/sh", "-c", _GUARD, "etcd-guard", pid, str(scratch or "")],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _free_port(host: str, wanted: int | None) -> int:
    """Return `wanted` if it is free, or any free port. Raises UserError when `wanted` is taken."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, wanted or 0))
            return int(probe.getsockname()[1])
    except OSError as error:
        raise UserError(
            f"port {wanted} on {host} cannot be used for etcd ({error.strerror}); "
            "choose another, or stop what listens there"
        ) from error


def _tail(log_file: Path) -> str:
    lines = log_file.read_text(errors="replace").splitlines() if log_file.exists() else []
    return "\n".join(lines[-15:]) or "(empty)"
