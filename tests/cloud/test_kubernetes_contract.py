"""Pods in a cluster keep what every provisioner promises, as a Job, a StatefulSet and a DaemonSet."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from kube_controllers import Cluster
from kube_site import Site
from provision_contract import ProvisionContract, Subject

from curtail_dist.config import RunConfig


class _OneWorkload(ProvisionContract):
    workload: ClassVar[str]

    @pytest.fixture
    def subject(self, tmp_path: Path, make_config: Callable[..., RunConfig]) -> Iterator[Subject]:
        with Cluster(tmp_path / "cluster") as cluster:
            site = Site(cluster, tmp_path, make_config, self.workload)
            site.apply()
            yield site.subject
            site.subject.provisioner.close()


@pytest.mark.integration
class TestJob(_OneWorkload):
    workload = "job"


@pytest.mark.integration
class TestStatefulSet(_OneWorkload):
    workload = "statefulset"


@pytest.mark.integration
class TestDaemonSet(_OneWorkload):
    workload = "daemonset"
