"""A site as a Job that is made at each start, from a suspended CronJob that serves as its template."""

from collections.abc import Mapping
from dataclasses import replace

from curtail_dist.membership.provision.kubernetes.api import Absent, Api, Conflict
from curtail_dist.membership.provision.kubernetes.scaled import kill_pods
from curtail_dist.membership.provision.kubernetes.seen import (
    START,
    Json,
    at,
    codes_of,
    condition,
    labels_of,
    reclaimed_by,
    said,
    seen_of,
    start_of,
)
from curtail_dist.membership.provision.kubernetes.start import TOLD, start_text
from curtail_dist.membership.provision.place import NotYet, Refused, Seen

_DEADLINE = "DeadlineExceeded"


class JobPlace:
    """One Job, by a name that only one can have: two agents cannot start a site twice.

    A Job that has ended stays, for its pods' logs, until the next start.
    """

    lingers = False
    told_code = TOLD

    def __init__(self, api: Api, name: str, *, nodes: int) -> None:
        """Use `api` for the Job called `name`, of which `nodes` pods make the site."""
        self._api = api
        self._name = name
        self._nodes = nodes

    def look(self) -> Seen:
        """Look at the Job and its pods."""
        try:
            job = self._api.job(self._name)
        except Absent:
            return Seen(there=False, reclaimed=f"Job {self._name} was deleted by somebody else")
        pods = self._api.pods(labels_of(job))
        status = at(job, "status")
        if condition(status, "Complete"):
            return Seen(there=True, code=0, occupies=False)
        if failed := condition(status, "Failed"):
            return _failed(failed, pods)
        if suspended := condition(status, "Suspended"):
            why = said(suspended.get("reason"), suspended.get("message"))
            return Seen(there=True, waiting=f"Job {self._name} is suspended: {why}")
        if not at(job, "metadata").get("deletionTimestamp"):
            # Whether pods that have ended are all there is to come is for the Job to say.
            seen = seen_of(pods, start_of(job), self._nodes, replaced=True)
            return seen if seen.code is None else Seen(there=True)
        seen = seen_of(pods, start_of(job), self._nodes, replaced=False)
        if seen.code is None and not seen.ranks:
            return replace(seen, waiting=f"Job {self._name} is being deleted", stuck=False)
        return seen

    def begin(self, variables: Mapping[str, str]) -> None:
        """Make the Job, once what is left of the last one is gone."""
        try:
            job = self._api.job(self._name)
        except Absent:
            self._create(variables)
            return
        status = at(job, "status")
        over = condition(status, "Complete") or condition(status, "Failed")
        if not over and not at(job, "metadata").get("deletionTimestamp"):
            return
        self.end()
        raise NotYet(f"Job {self._name} of the last start is being deleted")

    def end(self) -> None:
        """Delete the Job; its pods end as their manifest says, `preStop` first."""
        try:
            self._api.delete_job(self._name)
        except Absent:
            return

    def kill(self) -> None:
        """Delete the Job, and give its pods no time."""
        try:
            labels = labels_of(self._api.job(self._name))
        except Absent:
            return
        self.end()
        kill_pods(self._api, labels)

    def close(self) -> None:
        """Close connections."""
        self._api.close()

    def _create(self, variables: Mapping[str, str]) -> None:
        try:
            template = self._api.cron_job(self._name)
        except Absent as error:
            raise Refused(
                f"there is no CronJob {self._name} ({error}); apply the site's manifests first"
            ) from None
        try:
            self._api.create_job(job_from(template, nodes=self._nodes, start=start_text(variables)))
        except Conflict:
            raise NotYet(f"somebody else has just made Job {self._name}") from None


def job_from(template: Json, *, nodes: int, start: str) -> Json:
    """Return the Job that a CronJob would make, as `kubectl create job --from` does, for one start."""
    made = at(template, "spec", "jobTemplate")
    owner, metadata, spec = at(template, "metadata"), at(made, "metadata"), at(made, "spec")
    pods = at(spec, "template")
    annotations = {**at(pods, "metadata", "annotations"), START: start}
    pods = {**pods, "metadata": {**at(pods, "metadata"), "annotations": annotations}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": owner["name"],
            "labels": at(metadata, "labels"),
            "annotations": {**at(metadata, "annotations"), "cronjob.kubernetes.io/instantiate": "manual"},
            "ownerReferences": [
                {
                    "apiVersion": "batch/v1",
                    "kind": "CronJob",
                    "name": owner["name"],
                    "uid": owner["uid"],
                    "controller": True,
                }
            ],
        },
        "spec": {
            **spec,
            "template": pods,
            "parallelism": nodes,
            "completions": nodes,
            "completionMode": "Indexed",
        },
    }


def _failed(failed: Json, pods: list[Json]) -> Seen:
    """Tell a failure from the end of the Job's time, and of its place."""
    code = max(codes_of(pods), default=0)
    if failed.get("reason") == _DEADLINE:
        return Seen(there=True, code=code, occupies=False, reclaimed="time limit of its Job")
    reclaimed = reclaimed_by(pods)
    if reclaimed and not code:
        return Seen(there=True, code=0, occupies=False, reclaimed=reclaimed)
    return Seen(there=True, code=code or 1, occupies=False)
