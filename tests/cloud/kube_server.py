"""A double of a Kubernetes API server: the calls that a site's agent makes, on objects kept in memory.

What it keeps and answers has the API's own form, so that the official client reads it. It checks who asks,
and by rules of RBAC what they may do. Controllers and a kubelet beside it (kube_controllers, kubelet) change
what it keeps.
"""

import copy
import re
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import yaml
from faulty import Answer, Asked, FaultyServer

Json = dict[str, Any]

NAMESPACE = "curtail"
TOKEN = "kubernetes-token-for-tests"
VERSIONS = {
    "cronjobs": ("batch/v1", "CronJob"),
    "jobs": ("batch/v1", "Job"),
    "statefulsets": ("apps/v1", "StatefulSet"),
    "daemonsets": ("apps/v1", "DaemonSet"),
    "pods": ("v1", "Pod"),
}
_PATH = re.compile(
    r"/(?:apis/(?P<group>batch|apps)|api)/v1/namespaces/(?P<namespace>[^/]+)/(?P<kind>[a-z]+)(?:/(?P<name>[^/]+))?"
)
_VERBS = {"GET": "get", "POST": "create", "PATCH": "patch", "DELETE": "delete"}
_PATCHES = ("application/merge-patch+json", "application/strategic-merge-patch+json")


@dataclass(frozen=True)
class Access:
    """One thing that was done, in RBAC's words."""

    verb: str
    group: str
    resource: str
    name: str


@dataclass
class Node:
    """A machine of the cluster."""

    name: str
    labels: dict[str, str] = field(default_factory=dict)
    gpus: int = 8


class KubeServer(FaultyServer):
    """The server and what it keeps. Everything that touches `objects` holds `lock`."""

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, dict[str, Json]] = {kind: {} for kind in VERSIONS}
        self.claims: dict[str, set[str]] = {}
        """Names of the volumes that are a pod's own for good, by its uid."""
        self.nodes: list[Node] = [Node("node-0")]
        self.rules: list[Json] | None = None
        """Rules of a Role for who asks; None: all is allowed."""
        self.accesses: set[Access] = set()
        self.meanwhile: list[Json] = []
        """What somebody else merges into an object just before each of the next changes."""
        self._version = 100
        self.changed = threading.Condition(self.lock)

    def kubeconfig(self) -> str:
        """Return the text of a kubeconfig whose context `here` is this server, and is not the current one."""
        return yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "nowhere",
                "clusters": [
                    {"name": "here", "cluster": {"server": self.url}},
                    {"name": "nowhere", "cluster": {"server": "http://127.0.0.1:9"}},
                ],
                "users": [{"name": "agent", "user": {"token": TOKEN}}],
                "contexts": [
                    {"name": "here", "context": {"cluster": "here", "user": "agent"}},
                    {"name": "nowhere", "context": {"cluster": "nowhere", "user": "agent"}},
                ],
            }
        )

    def apply(self, manifest: Mapping[str, Any]) -> Json:
        """Do what `kubectl apply` does with an object of a kind that is kept."""
        kind = next(kind for kind, (_, name) in VERSIONS.items() if name == manifest["kind"])
        with self.lock:
            return self.store(kind, copy.deepcopy(dict(manifest)))

    def store(self, kind: str, made: Json) -> Json:
        """Keep a new object; the lock is held."""
        version, name = VERSIONS[kind]
        made.update(apiVersion=version, kind=name)
        metadata = made["metadata"]
        metadata.setdefault("namespace", NAMESPACE)
        metadata.update(uid=str(uuid.uuid4()), creationTimestamp=now(), generation=1)
        made.setdefault("status", {})
        self.objects[kind][metadata["name"]] = made
        self.touch(made)
        return made

    def touch(self, changed: Json) -> None:
        """Give an object its next version; the lock is held."""
        self._version += 1
        changed["metadata"]["resourceVersion"] = str(self._version)
        self.changed.notify_all()

    def drop(self, kind: str, name: str) -> None:
        """Forget an object; the lock is held."""
        self.objects[kind].pop(name, None)
        self.changed.notify_all()

    def pods(self, labels: Mapping[str, str]) -> Iterator[Json]:
        """The pods that have all these labels; the lock is held."""
        for pod in list(self.objects["pods"].values()):
            own = pod["metadata"].get("labels", {})
            if all(own.get(key) == value for key, value in labels.items()):
                yield pod

    def doom(self, pod: Json, grace_s: float | None = None) -> None:
        """Have a pod end, or end sooner; the lock is held. Its kubelet does the rest."""
        metadata = pod["metadata"]
        own = pod["spec"].get("terminationGracePeriodSeconds", 30)
        asked = own if grace_s is None else grace_s
        before = metadata.get("deletionGracePeriodSeconds")
        metadata["deletionGracePeriodSeconds"] = asked if before is None else min(asked, before)
        metadata.setdefault("deletionTimestamp", now())
        self.touch(pod)

    def answer(self, asked: Asked) -> Answer:
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return status(401, "Unauthorized", "Unauthorized")
        found = _PATH.fullmatch(asked.path)
        if not found or found["kind"] not in VERSIONS or found["namespace"] != NAMESPACE:
            return status(404, "NotFound", "the server could not find the requested resource")
        kind, name = found["kind"], found["name"] or ""
        verb = "list" if asked.method == "GET" and not name else _VERBS[asked.method]
        access = Access(verb, found["group"] or "", kind, name)
        if self.rules is not None and not allowed(self.rules, access):
            return status(
                403, "Forbidden", f'{kind} "{name}" is forbidden: User "agent" cannot {verb} resource'
            )
        self.accesses.add(access)
        if verb == "list":
            return self._list(asked)
        if verb == "create":
            return self._create(kind, asked.body)
        if name not in self.objects[kind]:
            return status(404, "NotFound", f'{kind} "{name}" not found')
        if verb == "patch":
            return self._patch(self.objects[kind][name], asked)
        if verb == "delete":
            return self._delete(kind, self.objects[kind][name], asked.body or {})
        return Answer(body=copy.deepcopy(self.objects[kind][name]))

    def _list(self, asked: Asked) -> Answer:
        selector = asked.query.get("labelSelector", "")
        labels = dict(part.split("=", 1) for part in selector.split(",") if part)
        items = copy.deepcopy(list(self.pods(labels)))
        metadata = {"resourceVersion": str(self._version)}
        return Answer(body={"apiVersion": "v1", "kind": "PodList", "metadata": metadata, "items": items})

    def _create(self, kind: str, body: Json) -> Answer:
        assert kind == "jobs", "an agent makes nothing else"
        name = body["metadata"]["name"]
        if name in self.objects[kind]:
            return status(409, "AlreadyExists", f'jobs.batch "{name}" already exists')
        made = self.store(kind, body)
        uid = made["metadata"]["uid"]
        labels = {"batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": name}
        made["spec"]["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
        pods = made["spec"]["template"].setdefault("metadata", {})
        pods["labels"] = {**pods.get("labels", {}), **labels}
        return Answer(status=201, body=copy.deepcopy(made))

    def _patch(self, found: Json, asked: Asked) -> Answer:
        if asked.headers.get("content-type") not in _PATCHES:
            return status(415, "UnsupportedMediaType", "the body of the request was in an unknown format")
        expected = asked.body.get("metadata", {}).get("resourceVersion")
        if self.meanwhile:
            merge(found, self.meanwhile.pop(0))
            self.touch(found)
        if expected not in (None, found["metadata"]["resourceVersion"]):
            name = found["metadata"]["name"]
            told = (
                "the object has been modified; please apply your changes to the latest version and try again"
            )
            return status(409, "Conflict", f'Operation cannot be fulfilled on "{name}": {told}')
        merge(found, asked.body)
        found["metadata"]["generation"] += 1
        self.touch(found)
        return Answer(body=copy.deepcopy(found))

    def _delete(self, kind: str, found: Json, options: Json) -> Answer:
        if kind == "pods":
            self.doom(found, options.get("gracePeriodSeconds"))
        else:
            assert options.get("propagationPolicy") == "Foreground", "its pods would be orphans"
            found["metadata"].setdefault("deletionTimestamp", now())
            found["metadata"]["finalizers"] = ["foregroundDeletion"]
            self.touch(found)
        return Answer(body=copy.deepcopy(found))


def status(code: int, reason: str, message: str, **headers: str) -> Answer:
    """Return an error as the API gives it."""
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
    return Answer(status=code, body=body, headers=headers)


def allowed(rules: list[Json], access: Access) -> bool:
    """Whether a Role's rules allow it, as RBAC reads them."""
    for rule in rules:
        if (
            access.verb in rule["verbs"]
            and access.group in rule["apiGroups"]
            and access.resource in rule["resources"]
            and (not rule.get("resourceNames") or access.name in rule["resourceNames"])
        ):
            return True
    return False


def merge(found: Json, change: Json) -> None:
    """Merge a change into an object; null takes away. Lists are not merged: no change here has one."""
    for key, value in change.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, dict):
            if not isinstance(found.get(key), dict):
                found[key] = {}
            merge(found[key], value)
        else:
            assert not isinstance(value, list)
            found[key] = value


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
