"""What runs a double's pods: their first container's command, as a process of this machine.

Volumes are directories of this machine, and where a command, a hook or a variable names a mount, it is given
the directory instead. A container that has ended is started again as its pod's policy says, after a pause
that grows. A pod that is to end is given its preStop hook, SIGTERM, its grace, and SIGKILL.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from kube_server import KubeServer, now

Json = dict[str, Any]

_LOOK_S = 0.01
_BACKOFF_S = 0.2
"""Before a container's second restart; a kubelet takes 10 s. The first comes at once."""
_STAYS_S = 0.1
"""For how long a pod that has ended can still be seen, while it is taken away."""


class Kubelet:
    """Runs pods that the scheduler has placed. Owns a thread a pod, and all processes, until `close`."""

    def __init__(self, server: KubeServer, directory: Path) -> None:
        self.server = server
        self.directory = directory
        self.missing_images: set[str] = set()
        self.maps: dict[str, dict[str, str]] = {}
        """ConfigMaps and Secrets: name -> file -> content."""
        self.logs: dict[str, Path] = {}
        """Output by pod name, the newest pod's."""
        self._closing = threading.Event()
        self._threads: dict[str, threading.Thread] = {}

    def look(self) -> None:
        """Take up pods that are new; the lock is held."""
        for pod in self.server.objects["pods"].values():
            uid = pod["metadata"]["uid"]
            if uid in self._threads:
                continue
            if "nodeName" not in pod["spec"] and "deletionTimestamp" not in pod["metadata"]:
                continue
            thread = threading.Thread(target=self._run, args=(pod,), name=f"pod-{pod['metadata']['name']}")
            self._threads[uid] = thread
            thread.start()

    def close(self) -> None:
        self._closing.set()
        for thread in self._threads.values():
            thread.join(15)
            assert not thread.is_alive()

    def _run(self, pod: Json) -> None:
        # The thread that starts a launcher lives as long: the kernel ties them.
        life = _Life(self, pod)
        try:
            life.lead()
        finally:
            life.end()

    def doomed(self, pod: Json) -> bool:
        return "deletionTimestamp" in pod["metadata"] or self._closing.is_set()

    @property
    def closing(self) -> bool:
        return self._closing.is_set()


class _Life:
    """One pod's containers, one after the other."""

    def __init__(self, kubelet: Kubelet, pod: Json) -> None:
        self.kubelet = kubelet
        self.server = kubelet.server
        self.pod = pod
        self.spec = pod["spec"]
        self.container = self.spec["containers"][0]
        self.process: subprocess.Popen[bytes] | None = None
        self.restarts = 0
        self.last: Json = {}
        name = pod["metadata"]["name"]
        self.home = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=kubelet.directory))
        self.log = self.home / "output.log"
        kubelet.logs[name] = self.log
        self.mounts = self._mount()

    def lead(self) -> None:
        if not self._wait_for_image():
            return
        while True:
            code = self._one()
            if self.kubelet.doomed(self.pod) or self.spec.get("restartPolicy", "Always") == "Never":
                with self.server.lock:
                    self.pod["status"]["phase"] = "Failed" if code else "Succeeded"
                    self.server.touch(self.pod)
                break
            pause = 0.0 if self.restarts == 0 else _BACKOFF_S * 2 ** (self.restarts - 1)
            self.restarts += 1
            if pause:
                told = "back-off restarting failed container"
                self._show({"waiting": {"reason": "CrashLoopBackOff", "message": told}})
            self._pause(pause)
        while not self.kubelet.doomed(self.pod):
            time.sleep(_LOOK_S)

    def end(self) -> None:
        """Take the pod away, once its last state could be seen."""
        if not self.kubelet.closing:
            time.sleep(_STAYS_S)
        with self.server.lock:
            self.server.drop("pods", self.pod["metadata"]["name"])

    def _one(self) -> int:
        """Run the container once."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._resolved([*self.container["command"], *self.container.get("args", [])]),
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._show({"running": {"startedAt": now()}})
        while self.process.poll() is None and not self.kubelet.doomed(self.pod):
            time.sleep(_LOOK_S)
        if self.process.poll() is None:
            self._stop(self.process)
        code = self.process.wait()
        code = code if code >= 0 else 128 - code
        self.last = {"terminated": {"exitCode": code, "reason": "Error" if code else "Completed"}}
        self._show(self.last)
        return code

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        hook = self.container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command")
        begun = time.monotonic()
        helper = None
        if hook and not self.kubelet.closing:
            helper = subprocess.Popen(self._resolved(hook), env=self._environment())
            while helper.poll() is None and process.poll() is None and not self._late(begun):
                time.sleep(_LOOK_S)
        if process.poll() is None and not self._late(begun):
            process.send_signal(signal.SIGTERM)
        while process.poll() is None and not self._late(begun):
            time.sleep(_LOOK_S)
        if process.poll() is None:
            process.kill()
        if helper is not None:
            helper.kill()
            helper.wait()

    def _late(self, begun: float) -> bool:
        grace = 0.5 if self.kubelet.closing else self.pod["metadata"].get("deletionGracePeriodSeconds", 0)
        return time.monotonic() - begun > grace

    def _wait_for_image(self) -> bool:
        while self.container["image"] in self.kubelet.missing_images:
            told = f'Back-off pulling image "{self.container["image"]}"'
            self._show({"waiting": {"reason": "ImagePullBackOff", "message": told}})
            if self.kubelet.doomed(self.pod):
                return False
            time.sleep(_LOOK_S)
        return not self.kubelet.doomed(self.pod) and "nodeName" in self.spec

    def _show(self, state: Json) -> None:
        with self.server.lock:
            status = self.pod["status"]
            shown: Json = {
                "name": self.container["name"],
                "image": self.container["image"],
                "imageID": "",
                "ready": "running" in state,
                "restartCount": self.restarts,
                "state": state,
            }
            if self.last and "terminated" not in state:
                shown["lastState"] = self.last
            status["containerStatuses"] = [shown]
            if "running" in state:
                status["phase"] = "Running"
            self.server.touch(self.pod)

    def _pause(self, duration: float) -> None:
        deadline = time.monotonic() + duration
        while time.monotonic() < deadline and not self.kubelet.doomed(self.pod):
            time.sleep(_LOOK_S)

    def _mount(self) -> dict[str, str]:
        """Return the directory that stands for each mount; longest first."""
        found: dict[str, str] = {}
        claims = self.server.claims.get(self.pod["metadata"]["uid"], set())
        volumes = {one["name"]: one for one in self.spec.get("volumes", [])}
        for mount in self.container.get("volumeMounts", []):
            name = mount["name"]
            if name in claims or "persistentVolumeClaim" in volumes.get(name, {}):
                place = self.kubelet.directory / f"volume-{name}-{self.pod['metadata']['name']}"
            else:
                place = self.home / name
            place.mkdir(exist_ok=True)
            source = volumes.get(name, {})
            held = source.get("configMap", {}).get("name") or source.get("secret", {}).get("secretName")
            for file, content in self.kubelet.maps.get(held or "", {}).items():
                (place / file).write_text(content)
            found[mount["mountPath"]] = str(place / mount["subPath"] if "subPath" in mount else place)
        return dict(sorted(found.items(), key=lambda item: -len(item[0])))

    def _resolved(self, words: list[str]) -> list[str]:
        return [self._placed(sys.executable if word == "python" else word) for word in words]

    def _placed(self, text: str) -> str:
        for path, place in self.mounts.items():
            if text == path or text.startswith(path + "/"):
                return place + text[len(path) :]
        return text

    def _environment(self) -> dict[str, str]:
        kept = ("PATH", "HOME", "PYTHONPATH")
        environment = {name: os.environ[name] for name in kept if name in os.environ}
        environment["OMP_NUM_THREADS"] = "1"
        for variable in self.container.get("env", []):
            value = variable.get("value", "")
            field = variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
            environment[variable["name"]] = self._field(field) if field else self._placed(value)
        return environment

    def _field(self, path: str) -> str:
        metadata = self.pod["metadata"]
        if path.startswith("metadata.annotations["):
            return metadata.get("annotations", {}).get(path.split("'")[1], "")
        known = {
            "metadata.uid": metadata["uid"],
            "metadata.name": metadata["name"],
            "status.podIP": "127.0.0.1",
        }
        return known[path]
