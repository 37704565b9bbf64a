"""A site's ranks in pods of a Kubernetes cluster.

The site is one object there, made beforehand from manifests: launch/kubernetes/ has them, and
docs/kubernetes.md says how its pods are started and how they leave. Its agent may run in the cluster or
anywhere else; it changes that one object and looks at its pods.
"""

from pathlib import Path

from curtail_dist.config import RunConfig
from curtail_dist.membership.provision.keeper import Keeper
from curtail_dist.membership.provision.kubernetes.api import Api
from curtail_dist.membership.provision.kubernetes.job import JobPlace
from curtail_dist.membership.provision.kubernetes.scaled import DaemonSetPlace, StatefulSetPlace

_PLACES = {"job": JobPlace, "statefulset": StatefulSetPlace, "daemonset": DaemonSetPlace}


class KubernetesProvisioner(Keeper):
    """Keeps one site's pods. They outlive it, and are found again by the object's name."""

    def __init__(self, config: RunConfig, run_file: Path, site: str) -> None:
        """Find the cluster and begin to look. Raises ProvisionError where it cannot be found.

        The pods read a run file of their own, from a ConfigMap; `run_file` is the agent's.
        """
        del run_file
        provisioner = config.site(site).provisioner
        own = provisioner.kubernetes
        assert own is not None, "the run file's check demands it of this kind"
        super().__init__(
            _PLACES[own.workload](Api(own), own.name, nodes=provisioner.nodes),
            site=site,
            poll_s=own.poll_s,
            accept_s=own.accept_s,
            stuck_s=own.stuck_s,
        )
