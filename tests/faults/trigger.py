"""Fires a fault inside this process, at a point of the protocol that is named beforehand.

A file `arm-SITE.json` in the lab's folder says what and where: {"signal": "KILL", "at": NAME}. NAME is that
of an effect (`GatherPayloads`, `Swap`, ...: fired right before it is carried out) or `step` (after `steps`
inner steps of a round). With `share` the fault waits, inside the effect, for that share of the median time
that such an effect took before, and does not fire if the effect was over by then.

Before it fires it writes `fired-SITE-PID.json` through to the disk: proof of where the process stood.
"""

import json
import os
import signal
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LOGGED = {
    "GatherCards",
    "GatherPayloads",
    "StepCopy",
    "GatherVotes",
    "Transact",
    "MakeDurable",
    "Swap",
    "Form",
}


class Trigger:
    """Watches one process. `probe` may be called by any thread, `step` by the one that trains."""

    def __init__(self, folder: Path, site: str, version: Callable[[], int]) -> None:
        self._armed = folder / f"arm-{site}.json"
        self._fired = folder / f"fired-{site}-{os.getpid()}.json"
        self._log = (folder / f"probes-{site}-{os.getpid()}.jsonl").open("a", buffering=1)
        self._site = site
        self._version = version
        self._lock = threading.Lock()
        self._current: dict[int, tuple[str, float]] = {}
        self._took: dict[str, list[float]] = {}

    def probe(self, name: str) -> None:
        """Called right before an effect."""
        me, now = threading.get_ident(), time.time()
        with self._lock:
            before, since = self._current.get(me, ("", now))
            self._current[me] = (name, now)
            self._took.setdefault(before, []).append(now - since)
        if name in LOGGED and threading.current_thread() is threading.main_thread():
            self._log.write(json.dumps({"effect": name, "wall": now, "version": self._version()}) + "\n")
        plan = self._plan()
        if plan is None or plan["at"] != name:
            return
        if "share" not in plan:
            self._fire(plan, began=now)
        elif usual := self._usual(name):
            delay = plan["share"] * usual
            threading.Timer(delay, self._fire_within, [plan, me, (name, now), usual]).start()

    def step(self, steps: int) -> None:
        """Called before an inner step; `steps` were done in this round."""
        plan = self._plan()
        if plan is not None and plan["at"] == "step" and plan["steps"] == steps:
            self._fire(plan, began=time.time())

    def _usual(self, name: str) -> float | None:
        with self._lock:
            return statistics.median(self._took[name]) if self._took.get(name) else None

    def _plan(self) -> dict[str, Any] | None:
        return json.loads(self._armed.read_text()) if self._armed.exists() else None

    def _fire_within(
        self, plan: dict[str, Any], thread: int, effect: tuple[str, float], usual: float
    ) -> None:
        with self._lock:  # the thread cannot leave the effect: its next probe waits for this lock
            if self._current.get(thread) == effect:
                self._fire(plan, began=effect[1], usual=usual)

    def _fire(self, plan: dict[str, Any], *, began: float, usual: float | None = None) -> None:
        proof = {
            "site": self._site,
            "pid": os.getpid(),
            "at": plan["at"],
            "signal": plan["signal"],
            "version": self._version(),
            "wall": time.time(),
            "inside_s": time.time() - began,
            "usual_s": usual,
        }
        partial = self._fired.with_suffix(".partial")
        with partial.open("w") as file:
            json.dump(proof, file)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(self._fired)
        self._armed.unlink(missing_ok=True)
        os.kill(os.getpid(), signal.Signals["SIG" + plan["signal"]])
