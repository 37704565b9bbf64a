"""One start of a site's launcher on this machine: a thread that starts it under a leash and sees it end.

The kernel ties a leash to the thread that started it. So this thread does, and lives as long as the leash.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from curtail_dist.errors import ProvisionError
from curtail_dist.membership.provision.processes import kill_below, ranks_below
from curtail_dist.membership.provision.provisioner import RanksState
from curtail_dist.membership.provision.slots import Refused, Slots, Taken

_LEASH = "curtail_dist.membership.provision.leash"
_BEGIN_S = 30.0
_KILL_S = 10.0
_LOOK_S = 0.05
_KILLED = 128 + signal.SIGKILL


class Launch:
    """One start. Owns a thread, and the leash and all below it, until `close` or until they have ended.

    Every method may come from any thread.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        *,
        site: str,
        slots: Slots | None = None,
        wanted: int = 0,
    ) -> None:
        """Prepare; nothing happens before `begin`. The command's output will be added to `log`."""
        self._command = list(command)
        self._environment = dict(environment)
        self._log = log
        self._site = site
        self._slots = slots
        self._wanted = wanted
        self._lock = threading.Lock()
        self._waiting = ""
        self._taken: Taken | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._code: int | None = None
        self._error: OSError | None = None
        self._go = threading.Event()
        """Set when the thread is to start the command, or to end, since `_code` says how it has ended."""
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"ranks-{site}", daemon=True)

    def begin(self) -> None:
        """Start the command, now or when as many slots are free as are wanted: each `state` looks for them.

        Call it once, before anything else. Raises ProvisionError where it cannot be started; then it has
        ended.
        """
        try:
            self._take()
        except ProvisionError:
            self._give_up(1)
            raise
        finally:
            self._thread.start()
        if not self._waiting:
            self._see_begun()

    def state(self) -> RanksState:
        """Look at the leash and the ranks below it; while slots are missing, try again to take them."""
        self._take()
        with self._lock:
            process, code, waiting, failed = self._process, self._code, self._waiting, self._error
        if process is not None:
            code = process.poll()
        if code is not None:
            code = code if code >= 0 else 128 - code
            return RanksState(running=False, code=code, failure=str(failed or ""))
        if process is None:
            return RanksState(running=True, waiting=waiting, behind=bool(waiting))
        return RanksState(running=True, pid=process.pid, ranks=ranks_below(process.pid))

    def terminate(self) -> None:
        """Send SIGTERM, which the launcher passes on to the ranks; what waits for slots ends in order."""
        process = self._stop_waiting(0)
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill all below the leash, which reaps it and ends by itself."""
        process = self._stop_waiting(_KILLED)
        if process is not None and process.poll() is None:
            kill_below(process.pid)

    def close(self) -> None:
        """Kill what runs and join the thread; idempotent. Raises ProvisionError where something lives on."""
        deadline = time.monotonic() + _KILL_S
        # The leash may be about to start the command: look again.
        while True:
            self.kill()
            self._thread.join(_LOOK_S)
            if not self._thread.is_alive():
                return
            if time.monotonic() > deadline:
                process = self._process
                if process is not None:
                    process.kill()
                raise ProvisionError(
                    f"the ranks of {self._site} (below {process and process.pid}) outlive SIGKILL by "
                    f"{_KILL_S:g} s; look for a device that hangs"
                )

    def _take(self) -> None:
        """Let the thread go on if nothing is waited for, or no longer."""
        with self._lock:
            if self._go.is_set():
                return
            if self._slots is not None:
                found = self._slots.take(self._wanted)
                if isinstance(found, Refused):
                    self._waiting = found.reason
                    return
                self._taken = found
                numbers = ",".join(str(number) for number in found.numbers)
                self._environment["CUDA_VISIBLE_DEVICES"] = numbers
            self._waiting = ""
            self._go.set()

    def _stop_waiting(self, code: int) -> subprocess.Popen[bytes] | None:
        """End with `code` what has not begun; else return the leash, once it is there."""
        self._give_up(code)
        self._begun.wait(_BEGIN_S)
        return self._process

    def _give_up(self, code: int) -> None:
        with self._lock:
            if not self._go.is_set():
                self._code, self._waiting = code, ""
                self._go.set()

    def _see_begun(self) -> None:
        if not self._begun.wait(_BEGIN_S):
            raise ProvisionError(
                f"the ranks of {self._site} have not been started in {_BEGIN_S:g} s; look at its machine"
            )
        if self._error is not None:
            self._thread.join(_BEGIN_S)
            raise ProvisionError(
                f"the ranks of {self._site} cannot be started: {self._error}"
            ) from self._error

    def _run(self) -> None:
        self._go.wait()  # until slots are free or somebody ends it: as long as the site waits
        taken = self._taken
        try:
            if self._code is None:
                process = self._spawn(() if taken is None else taken.files)
                with self._lock:
                    self._process = process
        except OSError as error:
            with self._lock:
                self._error, self._code = error, 1
        finally:
            if taken is not None:
                taken.close()
            self._begun.set()
        if self._process is not None:
            self._process.wait()  # as long as the ranks live

    def _spawn(self, held: Sequence[int]) -> subprocess.Popen[bytes]:
        """Start the leash, which keeps the files `held` open until all below it has ended."""
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", _LEASH, str(os.getpid()), ",".join(map(str, held)), *self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                pass_fds=held,
                start_new_session=True,
            )
