"""A site as a StatefulSet or a DaemonSet that stays in the cluster and is switched on and off."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace

from curtail_dist.membership.provision.kubernetes.api import Absent, Api, Conflict
from curtail_dist.membership.provision.kubernetes.seen import START, Json, at, labels_of, seen_of, start_of
from curtail_dist.membership.provision.kubernetes.start import TOLD, start_text
from curtail_dist.membership.provision.place import NotYet, Refused, Seen

NEVER = "curtail-dist/never"
"""A label that no node has. A DaemonSet that asks for it has no pods."""


class ScaledPlace(ABC):
    """One such object. What was asked for last stands in it, and with its pods in the cluster alone."""

    lingers = False
    told_code = TOLD

    def __init__(self, api: Api, name: str, *, nodes: int) -> None:
        """Use `api` for the object called `name`, of which `nodes` pods make the site."""
        self._api = api
        self._name = name
        self._nodes = nodes

    def look(self) -> Seen:
        """Look at the object and its pods; one that is off counts as long as its last pods end."""
        try:
            found = self._read()
        except Absent:
            return Seen(there=False, reclaimed=f"there is no {self} any more")
        on, start = self._is_on(found), start_of(found)
        pods = self._api.pods(labels_of(found))
        if on:
            return seen_of(pods, start, self._nodes, replaced=True)
        reclaimed = f"{self} was switched off by somebody else"
        left = [pod for pod in pods if at(pod, "metadata", "annotations").get(START, "") == start]
        if not left:
            return Seen(there=False, reclaimed=reclaimed)
        return replace(seen_of(left, start, len(left), replaced=False), reclaimed=reclaimed, stuck=False)

    def begin(self, variables: Mapping[str, str]) -> None:
        """Switch it on as another start than the last, unless it is on."""
        try:
            found = self._read()
        except Absent as error:
            raise Refused(f"there is no {self} ({error}); apply the site's manifests first") from None
        if self._is_on(found):
            pods = self._api.pods(labels_of(found))
            if seen_of(pods, start_of(found), self._nodes, replaced=True).code is None:
                return
            self.end()
            raise NotYet("what is left of the last start is cleared away")
        change = self._switched_on()
        # Two agents that found it off cannot both switch it on.
        change["metadata"] = {"resourceVersion": at(found, "metadata").get("resourceVersion")}
        change["spec"].setdefault("template", {})["metadata"] = {
            "annotations": {START: start_text(variables)}
        }
        try:
            self._change(change)
        except Conflict:
            raise NotYet(f"{self} is just being changed") from None

    def end(self) -> None:
        """Switch it off; its pods end as their manifest says, `preStop` first."""
        try:
            if self._is_on(self._read()):
                self._change(self._switched_off())
        except Absent:
            return

    def kill(self) -> None:
        """Switch it off, and give its pods no time."""
        self.end()
        try:
            labels = labels_of(self._read())
        except Absent:
            return
        kill_pods(self._api, labels)

    def close(self) -> None:
        """Close connections."""
        self._api.close()

    @abstractmethod
    def __str__(self) -> str:
        """Return what it is and its name."""

    @abstractmethod
    def _read(self) -> Json: ...

    @abstractmethod
    def _change(self, change: Json) -> None: ...

    @abstractmethod
    def _is_on(self, found: Json) -> bool: ...

    @abstractmethod
    def _switched_on(self) -> Json: ...

    @abstractmethod
    def _switched_off(self) -> Json: ...


class StatefulSetPlace(ScaledPlace):
    """Scaled between 0 and as many pods as the site has machines. Each pod's volume stays."""

    def __str__(self) -> str:
        return f"StatefulSet {self._name}"

    def _read(self) -> Json:
        return self._api.stateful_set(self._name)

    def _change(self, change: Json) -> None:
        self._api.change_stateful_set(self._name, change)

    def _is_on(self, found: Json) -> bool:
        return at(found, "spec").get("replicas") != 0

    def _switched_on(self) -> Json:
        return {"spec": {"replicas": self._nodes}}

    def _switched_off(self) -> Json:
        return {"spec": {"replicas": 0}}


class DaemonSetPlace(ScaledPlace):
    """Has a pod on each node that its own selector finds, or, while it asks for what no node has, none."""

    def __str__(self) -> str:
        return f"DaemonSet {self._name}"

    def _read(self) -> Json:
        return self._api.daemon_set(self._name)

    def _change(self, change: Json) -> None:
        self._api.change_daemon_set(self._name, change)

    def _is_on(self, found: Json) -> bool:
        return NEVER not in at(found, "spec", "template", "spec", "nodeSelector")

    def _switched_on(self) -> Json:
        return {"spec": {"template": {"spec": {"nodeSelector": {NEVER: None}}}}}

    def _switched_off(self) -> Json:
        return {"spec": {"template": {"spec": {"nodeSelector": {NEVER: "true"}}}}}


def kill_pods(api: Api, labels: Json) -> None:
    """Have all pods with these labels killed."""
    for pod in api.pods(labels):
        try:
            api.kill_pod(str(at(pod, "metadata").get("name")))
        except Absent:
            continue
