"""What the run file says of a site whose ranks Kubernetes starts."""

import re
from dataclasses import dataclass
from pathlib import Path

from curtail_dist.config.sections import require
from curtail_dist.units import Seconds

WORKLOADS = ("job", "statefulset", "daemonset")
_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?")


@dataclass(frozen=True, kw_only=True)
class KubernetesConfig:
    """Which object of a cluster stands for a site. Its manifest says the rest: image, GPUs, volumes."""

    name: str
    """Name of the StatefulSet or DaemonSet; with `job`, of a suspended CronJob, from which a Job of the same
    name is made at each start."""
    namespace: str = "curtail"
    """Where it is."""
    workload: str = "statefulset"
    """`statefulset`: scaled from 0 to `provisioner.nodes` pods, each with a volume that stays; `job`: a Job a
    start; `daemonset`: a pod on each node that its selector finds, and more as nodes come."""
    kubeconfig: Path | None = None
    """File that says where the cluster is and who asks. Default: the pod's own service account, else what
    kubectl takes: $KUBECONFIG, ~/.kube/config."""
    context: str = ""
    """Which of the file's contexts. Default: its current one."""
    poll_s: Seconds = 5.0
    """Real time between two looks at the pods."""
    timeout_s: Seconds = 10.0
    """Real time for one answer of the API server."""
    accept_s: Seconds = 60.0
    """Real time in which the API server must take an order to start. It is asked again until then."""
    stuck_s: Seconds = 300.0
    """Real time for which pods may be kept from beginning by what seldom passes, such as an image that cannot
    be pulled. For a free node they wait as long as it takes."""

    def __post_init__(self) -> None:
        for key in ("name", "namespace"):
            value = getattr(self, key)
            right = bool(_NAME.fullmatch(value)) and len(value) <= 63
            require(right, f"kubernetes.{key}", value, "a name of at most 63 of a-z, 0-9, - and .")
        must = "one of " + ", ".join(WORKLOADS)
        require(self.workload in WORKLOADS, "kubernetes.workload", self.workload, must)
        for key in ("poll_s", "timeout_s", "accept_s", "stuck_s"):
            require(getattr(self, key) > 0, f"kubernetes.{key}", getattr(self, key), "above 0")
