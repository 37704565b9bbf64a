"""A double's controllers: StatefulSets, DaemonSets and Jobs make pods, a scheduler places them on nodes."""

import copy
import threading
import time
from pathlib import Path
from typing import Any

from kube_server import KubeServer, Node, now
from kubelet import Kubelet

Json = dict[str, Any]

_TURN_S = 0.02
GPU = "nvidia.com/gpu"


class Cluster:
    """A server with all that brings its objects to life. Owns them between `__enter__` and `__exit__`."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.server = KubeServer()
        self.kubelet = Kubelet(self.server, directory)
        self.made = 0
        """How many pods were made."""
        self._begun: dict[str, float] = {}
        """When Jobs began, by uid."""
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="controllers")
        self._failure: BaseException | None = None

    def __enter__(self) -> "Cluster":
        self.server.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join(10)
        self.kubelet.close()
        self.server.__exit__()
        if self._failure is not None:
            raise self._failure

    def evict(self, pod: Json, reason: str = "EvictionByEvictionAPI") -> None:
        """Have the cluster itself end a pod; the lock is held."""
        told = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "evicted"}
        pod["status"].setdefault("conditions", []).append(told)
        self.server.doom(pod)

    def _run(self) -> None:
        while not self._ending.wait(_TURN_S):
            try:
                with self.server.lock:
                    self._turn()
            except BaseException as error:  # noqa: BLE001 - told at the end of the test
                self._failure = error
                return

    def _turn(self) -> None:
        objects = self.server.objects
        for one in list(objects["statefulsets"].values()):
            self._stateful_set(one)
        for one in list(objects["daemonsets"].values()):
            self._daemon_set(one)
        for one in list(objects["jobs"].values()):
            self._job(one)
        for pod in list(objects["pods"].values()):
            if "nodeName" not in pod["spec"] and "deletionTimestamp" not in pod["metadata"]:
                self._schedule(pod)
        self.kubelet.look()

    def _stateful_set(self, found: Json) -> None:
        spec, name = found["spec"], found["metadata"]["name"]
        wanted = {f"{name}-{index}" for index in range(spec.get("replicas", 1))}
        pods = {pod["metadata"]["name"]: pod for pod in self._own(found)}
        for pod in pods.values():
            old = pod["metadata"].get("annotations") != spec["template"]["metadata"].get("annotations")
            if "deletionTimestamp" in pod["metadata"]:
                continue
            if pod["metadata"]["name"] not in wanted or old or pod["status"].get("phase") == "Failed":
                self.server.doom(pod)
        for missing in sorted(wanted - set(pods)):
            self._make(found, spec["template"], missing, claims=spec.get("volumeClaimTemplates", []))
        found["status"] = {"replicas": len(pods), "readyReplicas": len(pods)}

    def _daemon_set(self, found: Json) -> None:
        spec, name = found["spec"], found["metadata"]["name"]
        selector = spec["template"]["spec"].get("nodeSelector", {})
        nodes = [node for node in self.server.nodes if matches(node, selector)]
        wanted = {f"{name}-{node.name}": node for node in nodes}
        pods = {pod["metadata"]["name"]: pod for pod in self._own(found)}
        for pod in pods.values():
            if pod["metadata"]["name"] not in wanted and "deletionTimestamp" not in pod["metadata"]:
                self.server.doom(pod)
        for missing in sorted(set(wanted) - set(pods)):
            self._make(found, spec["template"], missing, node=wanted[missing])
        found["status"] = {
            "desiredNumberScheduled": len(nodes),
            "currentNumberScheduled": len(pods),
            "numberMisscheduled": 0,
            "numberReady": len(pods),
        }

    def _job(self, found: Json) -> None:
        spec, metadata, status = found["spec"], found["metadata"], found["status"]
        pods = self._own(found)
        living = [pod for pod in pods if pod["status"].get("phase") not in ("Succeeded", "Failed")]
        if "deletionTimestamp" in metadata:
            self._delete_job(metadata["name"], pods)
            return
        if status.get("conditions") or spec.get("suspend"):
            return
        status.setdefault("startTime", now())
        begun = self._begun.setdefault(metadata["uid"], time.monotonic())
        limit = spec.get("activeDeadlineSeconds")
        failed = [pod for pod in pods if pod["status"].get("phase") == "Failed" and not disrupted(pod)]
        done = [pod for pod in pods if pod["status"].get("phase") == "Succeeded"]
        if limit is not None and time.monotonic() - begun > limit:
            self._conclude(
                found, living, "Failed", "DeadlineExceeded", "Job was active longer than its limit"
            )
        elif len(failed) > spec.get("backoffLimit", 6):
            told = "Job has reached the specified backoff limit"
            self._conclude(found, living, "Failed", "BackoffLimitExceeded", told)
        elif len(done) >= spec["completions"]:
            self._conclude(found, living, "Complete", "CompletionsReached", "")
        else:
            while len(living) + len(done) < spec["parallelism"]:
                living.append(self._make(found, spec["template"], f"{metadata['name']}-{self.made}"))

    def _own(self, found: Json) -> list[Json]:
        """The pods that a workload has made."""
        uid = found["metadata"]["uid"]
        pods = self.server.pods(found["spec"]["selector"]["matchLabels"])
        return [pod for pod in pods if pod["metadata"]["ownerReferences"][0]["uid"] == uid]

    def _delete_job(self, name: str, pods: list[Json]) -> None:
        for pod in pods:
            if "deletionTimestamp" not in pod["metadata"]:
                self.server.doom(pod)
        if not pods:
            self.server.drop("jobs", name)

    def _conclude(self, job: Json, living: list[Json], kind: str, reason: str, message: str) -> None:
        for pod in living:
            self.server.doom(pod)
        told = {"type": kind, "status": "True", "reason": reason, "message": message}
        job["status"]["conditions"] = [told]
        self.server.touch(job)

    def _make(
        self,
        owner: Json,
        template: Json,
        name: str,
        *,
        claims: list[Json] | None = None,
        node: Node | None = None,
    ) -> Json:
        pod = copy.deepcopy(template)
        pod.setdefault("metadata", {})["name"] = name
        metadata = owner["metadata"]
        pod["metadata"]["ownerReferences"] = [
            {
                "apiVersion": owner["apiVersion"],
                "kind": owner["kind"],
                "name": metadata["name"],
                "uid": metadata["uid"],
                "controller": True,
            }
        ]
        pod["status"] = {"phase": "Pending"}
        self.server.store("pods", pod)
        self.server.claims[pod["metadata"]["uid"]] = {one["metadata"]["name"] for one in claims or []}
        if node is not None:
            pod["spec"]["nodeName"] = node.name
        self.made += 1
        return pod

    def _schedule(self, pod: Json) -> None:
        wanted = gpus(pod)
        selector = pod["spec"].get("nodeSelector", {})
        for node in self.server.nodes:
            taken = sum(
                gpus(other)
                for other in self.server.objects["pods"].values()
                if other["spec"].get("nodeName") == node.name
            )
            if matches(node, selector) and node.gpus - taken >= wanted:
                pod["spec"]["nodeName"] = node.name
                pod["status"]["conditions"] = [{"type": "PodScheduled", "status": "True"}]
                self.server.touch(pod)
                return
        total = len(self.server.nodes)
        pod["status"]["conditions"] = [
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": f"0/{total} nodes are available: {total} Insufficient {GPU}.",
            }
        ]


def gpus(pod: Json) -> int:
    limits = pod["spec"]["containers"][0].get("resources", {}).get("limits", {})
    return int(limits.get(GPU, 0))


def matches(node: Node, selector: Json) -> bool:
    return all(node.labels.get(key) == value for key, value in selector.items())


def disrupted(pod: Json) -> bool:
    return any(one["type"] == "DisruptionTarget" for one in pod["status"].get("conditions", []))
