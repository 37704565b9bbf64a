"""A cluster's API server, asked by the official client: one call each, bounded in time and size, plain JSON.

The client knows how to find the server, to show who asks, and which path a call has. What the server answers
is read here: in pieces, up to a deadline, and not into the client's models, which refuse what is newer than
they are.
"""

import json
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any, cast

from curtail_dist.config.kubernetes import KubernetesConfig
from curtail_dist.energy.providers.answers import ProviderFailure
from curtail_dist.energy.providers.web import read_whole
from curtail_dist.errors import ProvisionError
from curtail_dist.membership.provision.kubernetes.seen import Json
from curtail_dist.membership.provision.place import Refused, Unanswered

_MAX_REPLY_BYTES = 16 << 20
_SAID_CHARACTERS = 300


class Absent(Refused):
    """There is no such object."""


class Conflict(Refused):
    """Somebody else has changed or made the object meanwhile."""


class Api:
    """One namespace of a cluster. Owns the client's connections until `close`; used by one thread.

    Every call raises Unanswered, or Refused where the server says no.
    """

    def __init__(self, config: KubernetesConfig) -> None:
        """Find the cluster; nothing is asked yet. Raises ProvisionError where that is impossible."""
        try:
            from kubernetes import client
        except ImportError as error:
            raise ProvisionError(
                "provisioner.kind is kubernetes, and its client is not installed: "
                "pip install 'curtail-dist[kubernetes]'"
            ) from error
        self._failures = _Failures()
        self._namespace = config.namespace
        self._timeout_s = config.timeout_s
        self._client: Any = client.ApiClient(_configuration(config))
        self._batch: Any = client.BatchV1Api(self._client)
        self._apps: Any = client.AppsV1Api(self._client)
        self._core: Any = client.CoreV1Api(self._client)

    def cron_job(self, name: str) -> Json:
        """Return a CronJob. Raises Absent."""
        return self._call(self._batch.read_namespaced_cron_job, name)

    def job(self, name: str) -> Json:
        """Return a Job. Raises Absent."""
        return self._call(self._batch.read_namespaced_job, name)

    def create_job(self, job: Json) -> Json:
        """Make a Job. Raises Conflict where there is one of that name."""
        return self._call(self._batch.create_namespaced_job, body=job)

    def delete_job(self, name: str) -> None:
        """Have a Job end with all its pods; it is there until they are gone. Raises Absent."""
        self._call(self._batch.delete_namespaced_job, name, body={"propagationPolicy": "Foreground"})

    def stateful_set(self, name: str) -> Json:
        """Return a StatefulSet. Raises Absent."""
        return self._call(self._apps.read_namespaced_stateful_set, name)

    def change_stateful_set(self, name: str, change: Json) -> Json:
        """Merge a change into a StatefulSet. Raises Absent; Conflict where it names another version."""
        return self._call(self._apps.patch_namespaced_stateful_set, name, body=change)

    def daemon_set(self, name: str) -> Json:
        """Return a DaemonSet. Raises Absent."""
        return self._call(self._apps.read_namespaced_daemon_set, name)

    def change_daemon_set(self, name: str, change: Json) -> Json:
        """Merge a change into a DaemonSet. Raises Absent; Conflict where it names another version."""
        return self._call(self._apps.patch_namespaced_daemon_set, name, body=change)

    def pods(self, labels: Json) -> list[Json]:
        """Return the pods that have all these labels."""
        selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
        said = self._call(self._core.list_namespaced_pod, label_selector=selector)
        items = said.get("items")
        if not isinstance(items, list):
            raise Unanswered("the API server answers with pods of no kind that is known")
        return cast("list[Json]", items)

    def kill_pod(self, name: str) -> None:
        """Have a pod killed within a second, also one that is ending at its leisure. Raises Absent."""
        self._call(self._core.delete_namespaced_pod, name, body={"gracePeriodSeconds": 1})

    def close(self) -> None:
        """Close connections; idempotent."""
        self._client.close()

    def _call(self, call: Callable[..., Any], *names: str, **given: Any) -> Json:
        """Make a call within the namespace and read its answer."""
        deadline = time.monotonic() + self._timeout_s
        try:
            reply = call(
                *names,
                namespace=self._namespace,
                _preload_content=False,
                _request_timeout=self._timeout_s,
                **given,
            )
            with closing(reply):
                body = read_whole(reply, deadline, most_bytes=_MAX_REPLY_BYTES)
                reply.release_conn()
        except ProviderFailure as error:
            raise Unanswered(f"the API server: {error}") from None
        except self._failures.api as error:
            raise _meaning(error) from None
        except (*self._failures.transport, OSError) as error:
            raise Unanswered(f"the API server does not answer ({_short(error)})") from None
        try:
            said = json.loads(body)
        except ValueError:
            raise Unanswered("the API server answers with something that is no JSON") from None
        if not isinstance(said, dict):
            raise Unanswered("the API server answers with JSON that is no object")
        return cast("Json", said)


class _Failures:
    """What the client raises: `api` for an answer that is a no, `transport` for none."""

    def __init__(self) -> None:
        from kubernetes.client.exceptions import ApiException
        from kubernetes.config.config_exception import ConfigException
        from urllib3.exceptions import HTTPError

        self.api = ApiException
        self.transport = (HTTPError, ConfigException)


def _configuration(config: KubernetesConfig) -> Any:
    """Return the client's own configuration: from the file given, else of the pod, else as kubectl's."""
    from kubernetes import client
    from kubernetes import config as loading

    finding: Any = loading
    found: Any = client.Configuration()
    own_file, chosen = config.kubeconfig, config.context or None
    try:
        if own_file is not None or chosen is not None:
            finding.load_kube_config(
                str(own_file) if own_file else None, context=chosen, client_configuration=found
            )
        else:
            try:
                finding.load_incluster_config(client_configuration=found)
            except finding.ConfigException:
                finding.load_kube_config(client_configuration=found)
    except (finding.ConfigException, OSError) as error:
        raise ProvisionError(
            f"the cluster of provisioner.kubernetes cannot be found ({_short(error)}); "
            "name its kubeconfig and context, or run the agent in the cluster"
        ) from error
    found.retries = False  # what is tried again, and until when, is not the transport's to say
    return found


def _meaning(error: Any) -> ProvisionError:
    """Return what an answer other than success means."""
    status, reason = cast("int", error.status or 0), _said(error)
    text = f"the API server answers {status}{reason and ': ' + reason}"
    if status == 404:
        return Absent(text)
    if status == 409:
        return Conflict(text)
    if status in (0, 408, 429) or status >= 500:
        headers: Any = error.headers or {}
        after = str(headers.get("Retry-After", "")).strip()
        return Unanswered(text, retry_after_s=float(after) if after.isdecimal() else None)
    if status in (401, 403):
        text += "; give who asks the rights of the manifests' Role"
    return Refused(text)


def _said(error: Any) -> str:
    """Return the server's own words, in short."""
    try:
        said = json.loads(error.body or "")
        return str(said["message"])[:_SAID_CHARACTERS]
    except (ValueError, KeyError, TypeError):
        return str(error.reason or "")[:_SAID_CHARACTERS]


def _short(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:_SAID_CHARACTERS]
