"""What a site's pods say of its ranks. Pure: from the API server's objects alone."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from curtail_dist.membership.provision.place import Seen, Unanswered
from curtail_dist.units import Seconds

Json = dict[str, Any]
"""An object of the cluster, a part of one, or a change of one."""

START = "curtail-dist/start"
"""Annotation of a workload's pods: which start they belong to, and the variables of it; JSON."""
_STUCK = (
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "CrashLoopBackOff",
)
"""Reasons for which a container waits that seldom pass by themselves."""
_UNKNOWN_CODE = 1
"""For pods that failed and do not say how."""


@dataclass(frozen=True, kw_only=True)
class Pod:
    """One pod, as far as it matters."""

    name: str
    doomed: bool = False
    """Whether it is being taken away."""
    running: bool = False
    """Whether its ranks' launcher runs."""
    waiting: str = ""
    """Why not."""
    stuck: bool = False
    """Whether for something that seldom passes by itself."""
    code: int | None = None
    """How the launcher ended, where it has."""
    reclaimed: str = ""
    """Why the pod itself was ended by the cluster."""
    id: int = 0


def seen_of(pods: Sequence[Json], start: str, wanted: int, *, replaced: bool) -> Seen:
    """Return what the pods of a workload say of one start, of which `wanted` make the site.

    The site has ended when one pod's launcher has failed, or all have ended in order. Where pods that are
    taken away are `replaced`, how they end says nothing: others come.
    """
    ours = [pod_of(pod) for pod in pods if _start(pod) == start]
    others = [pod for pod in pods if _start(pod) != start]
    running = [pod for pod in ours if pod.running]
    ended = [pod for pod in ours if pod.code is not None and not (replaced and pod.doomed)]
    codes, ids = [pod.code or 0 for pod in ended], tuple(sorted(pod.id for pod in running))
    if any(codes) or len(codes) >= max(wanted, len(ours)):
        return Seen(there=True, code=max(codes))
    grace_s = max((_grace_s(pod) for pod in pods), default=0.0)
    if len(running) + len(ended) >= wanted:
        return Seen(there=True, ranks=ids, grace_s=grace_s)
    late = [pod for pod in ours if pod not in running and pod not in ended]
    if late:
        waiting, stuck = f"pod {late[0].name}: {late[0].waiting}", any(pod.stuck for pod in late)
    elif others:
        waiting, stuck = f"pod {_name(others[0])} of the last start is still ending", False
    else:
        waiting, stuck = f"{len(ours)} of {wanted} pods are there", False
    return Seen(there=True, waiting=waiting, stuck=stuck, ranks=ids, grace_s=grace_s)


def pod_of(pod: Json) -> Pod:
    """Return what one pod says. The launcher runs in the first of its containers."""
    name, status, container = _name(pod), at(pod, "status"), _first(pod)
    doomed = bool(at(pod, "metadata").get("deletionTimestamp"))
    reason = _disruption(status) or (
        str(status.get("reason") or "") if status.get("phase") == "Failed" else ""
    )
    away = f"it is being taken away{reason and f' ({reason})'}"
    ended = at(container, "lastState", "terminated") or at(container, "state", "terminated")
    if status.get("phase") == "Failed" and reason:
        return Pod(name=name, doomed=True, waiting=away, code=_code(ended), reclaimed=reason)
    if ended:
        return Pod(name=name, doomed=doomed, waiting=away, code=_code(ended), reclaimed=reason)
    if "running" in at(container, "state"):
        return Pod(name=name, doomed=doomed, running=True, id=_id(pod))
    if doomed:
        return Pod(name=name, doomed=True, waiting=away)
    return _late(name, status, container)


def reclaimed_by(pods: Iterable[Json]) -> str:
    """Return why the cluster ended one of the pods itself, where it did."""
    return next((one.reclaimed for one in map(pod_of, pods) if one.reclaimed), "")


def codes_of(pods: Iterable[Json]) -> list[int]:
    """Return how launchers have ended."""
    return [one.code for one in map(pod_of, pods) if one.code is not None]


def condition(status: Json, kind: str) -> Json:
    """Return an object's condition of a kind where it holds, else nothing."""
    for one in _list(status.get("conditions")):
        if one.get("type") == kind and one.get("status") == "True":
            return one
    return {}


def at(found: Json, *keys: str) -> Json:
    """Return the mapping that stands below these keys; an empty one where there is none."""
    for key in keys:
        found = _map(found.get(key))
    return found


def labels_of(found: Json) -> Json:
    """Return the labels by which a workload finds its pods. Raises Unanswered where it says none."""
    labels = at(found, "spec", "selector", "matchLabels")
    if not labels:
        raise Unanswered("the API server answers with a workload that selects no pods")
    return labels


def start_of(found: Json) -> str:
    """Return a workload's newest start: the annotation of its pods' template."""
    return str(at(found, "spec", "template", "metadata", "annotations").get(START, ""))


def said(reason: object, message: object) -> str:
    """Join a reason and its message, as the cluster gives them."""
    return ": ".join(str(part).strip() for part in (reason, message) if part)


def _late(name: str, status: Json, container: Json) -> Pod:
    """Say why a pod's launcher does not run yet."""
    for one in (container, *_list(status.get("initContainerStatuses"))):
        waits = at(one, "state", "waiting")
        reason = str(waits.get("reason") or "")
        if reason in _STUCK:
            return Pod(name=name, waiting=said(reason, waits.get("message")), stuck=True)
    for one in _list(status.get("conditions")):
        if one.get("type") == "PodScheduled" and one.get("status") == "False":
            return Pod(name=name, waiting=said(one.get("reason"), one.get("message")))
    waits = at(container, "state", "waiting")
    return Pod(name=name, waiting=said(waits.get("reason") or status.get("phase"), waits.get("message")))


def _disruption(status: Json) -> str:
    found = condition(status, "DisruptionTarget")
    return said(found.get("reason"), found.get("message")) if found else ""


def _first(pod: Json) -> Json:
    """Return the status of a pod's first container."""
    status = at(pod, "status")
    containers = _list(at(pod, "spec").get("containers"))
    name = containers[0].get("name") if containers else None
    for one in _list(status.get("containerStatuses")):
        if one.get("name") == name:
            return one
    return {}


def _code(ended: Json) -> int | None:
    if not ended:
        return None
    code = ended.get("exitCode")
    return code if isinstance(code, int) else _UNKNOWN_CODE


def _id(pod: Json) -> int:
    uid = str(at(pod, "metadata").get("uid") or _name(pod))
    return int.from_bytes(hashlib.blake2b(uid.encode(), digest_size=6).digest(), "big")


def _grace_s(pod: Json) -> Seconds:
    """Return how long a pod has to end, its preStop hook included, before the kubelet kills it."""
    stated = at(pod, "spec").get("terminationGracePeriodSeconds")
    return float(stated) if isinstance(stated, int) else 0.0


def _name(pod: Json) -> str:
    return str(at(pod, "metadata").get("name") or "")


def _start(pod: Json) -> str:
    return str(at(pod, "metadata", "annotations").get(START, ""))


def _map(value: Any) -> Json:
    return cast("Json", value) if isinstance(value, dict) else {}


def _list(value: Any) -> list[Json]:
    if not isinstance(value, list):
        return []
    return [_map(one) for one in cast("list[Any]", value)]
