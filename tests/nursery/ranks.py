"""Ranks that a nursery started: real processes, to be signalled, watched and waited for."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

POLL_S = 0.01
START_S = 120.0
END_S = 60.0
TESTS = Path(__file__).parent.parent


class Ranks:
    """One process of a site."""

    def __init__(self, nursery: "Nursery", site: str, pid: int, output: Path) -> None:
        self._nursery = nursery
        self.site = site
        self.pid = pid
        self.may_end = {0}
        """Exit codes that the lab has given it reason for."""
        self._output = output

    def __repr__(self) -> str:
        return f"{self.site}({self.pid})"

    @property
    def stem(self) -> str:
        """The process part of its events' file."""
        return f"rank-{self.pid}"

    @property
    def code(self) -> int | None:
        """Exit code, negative for a signal; None while it runs or is stopped."""
        return self._nursery.code(self.pid)

    @property
    def stopped(self) -> bool:
        """Whether it was sent SIGSTOP and does not run."""
        with suppress(OSError):
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        return False

    @property
    def errors(self) -> str:
        """What it wrote to stderr so far."""
        return Path(f"{self._output}.err").read_text()

    @property
    def said(self) -> dict[str, Any]:
        """What it said of itself at its orderly end."""
        return json.loads(Path(f"{self._output}.out").read_text().splitlines()[-1])

    def send(self, number: signal.Signals) -> float:
        """Send a signal unless it has ended; return the moment (UTC, seconds)."""
        if number == signal.SIGKILL:
            self.may_end.add(-number)
        now = time.time()
        if self.code is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)
        return now

    def end(self, timeout: float = END_S) -> tuple[int, str, str]:
        """Wait for its end; return exit code, output and errors."""
        deadline = time.monotonic() + timeout
        while (code := self.code) is None:
            assert time.monotonic() < deadline, f"{self} has not ended within {timeout:g} s: {self.errors}"
            time.sleep(POLL_S)
        return code, Path(f"{self._output}.out").read_text(), self.errors

    def result(self, timeout: float = END_S) -> Any:
        """What it said of itself, once it has ended in order."""
        code, _, errors = self.end(timeout)
        assert code == 0, errors
        return self.said

    def check(self) -> None:
        """Fail if it has ended as nobody wanted it to."""
        ended = self.code is not None and self.code not in self.may_end
        assert not ended, f"{self} ended with {self.code}:\n{self.errors[-3000:]}"


class Nursery:
    """Owns the process that forks ranks, and through it all of them, inside `with`."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._codes: dict[int, int] = {}
        self._started: list[int] = []
        self._ready = False
        self._unread = b""

    def __enter__(self) -> Self:
        path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        )
        self._read_until(lambda: self._ready)
        return self

    def __exit__(self, *_: object) -> None:
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            process.wait(30.0)
            process.stdout.close()

    def fork(
        self,
        script: Path,
        arguments: Sequence[str],
        *,
        site: str,
        output: Path,
        environment: Mapping[str, str] | None = None,
    ) -> Ranks:
        """Run a script as a rank of `site`; what it prints goes to `output`.out and .err."""
        assert self._process is not None, "use a nursery inside `with`"
        assert self._process.stdin is not None
        order = {
            "script": str(script),
            "arguments": list(arguments),
            "output": str(output),
            "environment": dict(environment or {}),
        }
        before = len(self._started)
        self._process.stdin.write((json.dumps(order) + "\n").encode())
        self._process.stdin.flush()
        self._read_until(lambda: len(self._started) > before)
        return Ranks(self, site, self._started[-1], output)

    def code(self, pid: int) -> int | None:
        """Exit code of a process it started, None while that lives."""
        if pid not in self._codes:
            self._read(0.0)
        return self._codes.get(pid)

    def _read_until(self, holds: Any) -> None:
        deadline = time.monotonic() + START_S
        while not holds():
            assert time.monotonic() < deadline, "the nursery does not answer"
            self._read(0.1)

    def _read(self, timeout: float) -> None:
        if self._process is None:
            return
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        while select.select([pipe], [], [], timeout)[0]:
            read = os.read(pipe, 65536)
            assert read, f"the nursery has ended: {self._process.poll()}"
            *lines, self._unread = (self._unread + read).split(b"\n")
            for line in lines:
                self._note(json.loads(line))
            timeout = 0.0

    def _note(self, facts: dict[str, int]) -> None:
        if "started" in facts:
            self._started.append(facts["started"])
            self._codes.pop(facts["started"], None)
        elif "ended" in facts:
            self._codes[facts["ended"]] = facts["code"]
        else:
            self._ready = True
