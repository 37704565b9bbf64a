"""One site in a double's cluster, with a launcher that does what the test says and imports nothing."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kube_controllers import Cluster
from kube_server import NAMESPACE
from provision_contract import Subject

from curtail_dist.config import RunConfig
from curtail_dist.membership.provision.kubernetes.provisioner import KubernetesProvisioner

Json = dict[str, Any]

NAME = "curtail-texas"
LABELS = {"app.kubernetes.io/name": "curtail-site", "curtail-dist/site": "texas"}
START = "metadata.annotations['curtail-dist/start']"

LAUNCHER = """
import json, os, pathlib, signal, sys, time
once, shared = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
if {stubborn}: signal.signal(signal.SIGTERM, signal.SIG_IGN)
if (once / "begun").exists():
    time.sleep(600)
(once / "begun").touch()
told = json.loads(os.environ.get("CURTAIL_START") or '{{"variables": {{}}}}')
(shared / f"start-{{os.getpid()}}.partial").write_text(json.dumps(told["variables"]))
os.rename(shared / f"start-{{os.getpid()}}.partial", shared / f"start-{{time.monotonic_ns()}}")
while not (shared / "leave").exists(): time.sleep(0.01)
sys.exit(int((shared / "leave").read_text()))
"""


def pods_template(shared: Path, *, stubborn: bool = False, gpus: int = 0, **spec: Any) -> Json:
    """Return a template of pods that run the launcher."""
    words = ["-S", "-c", LAUNCHER.format(stubborn=stubborn), "/run/curtail", str(shared)]
    container = {
        "name": "ranks",
        "image": "curtail:test",
        "command": ["python", *words],
        "env": [{"name": "CURTAIL_START", "valueFrom": {"fieldRef": {"fieldPath": START}}}],
        "volumeMounts": [{"name": "once", "mountPath": "/run/curtail"}],
    }
    if gpus:
        container["resources"] = {"limits": {"nvidia.com/gpu": gpus}}
    volumes = [{"name": "once", "emptyDir": {}}]
    own = {"containers": [container], "volumes": volumes, "terminationGracePeriodSeconds": 5, **spec}
    return {"metadata": {"labels": dict(LABELS)}, "spec": own}


def manifest(workload: str, template: Json) -> Json:
    """Return the object that stands for the site, switched off."""
    metadata = {"name": NAME, "namespace": NAMESPACE, "labels": dict(LABELS)}
    selector = {"matchLabels": dict(LABELS)}
    if workload == "statefulset":
        spec = {"replicas": 0, "serviceName": NAME, "selector": selector, "template": template}
        return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": spec}
    if workload == "daemonset":
        template["spec"]["nodeSelector"] = {"curtail-dist/never": "true"}
        spec = {"selector": selector, "template": template}
        return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": spec}
    template["spec"]["restartPolicy"] = "Never"
    job = {"metadata": {"labels": dict(LABELS)}, "spec": {"backoffLimit": 0, "template": template}}
    spec = {"schedule": "0 0 1 1 *", "suspend": True, "jobTemplate": job}
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata, "spec": spec}


class Site:
    """The site as a test sees it: its cluster, what its pods have left behind, its provisioner's subject."""

    def __init__(
        self,
        cluster: Cluster,
        folder: Path,
        make_config: Callable[..., RunConfig],
        workload: str,
        **given: Any,
    ) -> None:
        """Write a kubeconfig; apply nothing."""
        self.cluster, self.server, self.folder, self.workload = cluster, cluster.server, folder, workload
        self.shared = folder / "shared"
        self.shared.mkdir()
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(self.server.kubeconfig())
        own = {
            "name": NAME,
            "workload": workload,
            "kubeconfig": str(kubeconfig),
            "context": "here",
            "poll_s": 0.05,
            "timeout_s": 0.3,
        }
        nodes = given.pop("nodes", 1)
        self.config = make_config(kind="kubernetes", ranks=nodes, nodes=nodes, kubernetes={**own, **given})
        self.subject = Subject(
            provisioner=self.open(),
            finish=lambda code: self._leave(code),
            starts=lambda: len(self.started()),
            refuse=self.remove,
            said=lambda name: self.started()[-1].get(name),
            reopen=self.open,
            told=143,
        )

    def open(self) -> KubernetesProvisioner:
        return KubernetesProvisioner(self.config, self.folder / "run.yaml", "texas")

    def apply(self, **template: Any) -> None:
        """Make the site's object, whose pods have this in their template."""
        self.server.apply(manifest(self.workload, pods_template(self.shared, **template)))

    def remove(self) -> None:
        """Take the site's object away."""
        with self.server.lock:
            for kind in ("cronjobs", "statefulsets", "daemonsets"):
                self.server.objects[kind].clear()

    def started(self) -> list[dict[str, str]]:
        """The variables of each launcher that has begun, oldest first."""
        return [json.loads(file.read_text()) for file in sorted(self.shared.glob("start-*[0-9]"))]

    def found(self) -> Json:
        """The object as the server keeps it; the lock is not held."""
        kinds = {"job": "jobs", "statefulset": "statefulsets", "daemonset": "daemonsets"}
        with self.server.lock:
            return self.server.objects[kinds[self.workload]][NAME]

    def pods(self) -> list[Json]:
        with self.server.lock:
            return list(self.server.pods(LABELS))

    def until(self, holds: Callable[[], Any]) -> None:
        """Wait until it holds."""
        deadline = time.monotonic() + self.subject.wait_s
        while not holds():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def _leave(self, code: int) -> None:
        before = len(self.started())
        partial = self.shared / "leave.partial"
        partial.write_text(str(code))
        partial.rename(self.shared / "leave")
        self.subject.eventually(lambda state: not state.running)
        (self.shared / "leave").unlink()
        assert len(self.started()) == before
