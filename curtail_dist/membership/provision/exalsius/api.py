"""Exalsius' API, as far as it is used: which machines a cluster has, add some, take one out.

One request a call, bounded in time and size. The token goes nowhere but to the address that the run file
names: redirects are not followed, and no error, log or repr shows it.
"""

import http.client
import json
import time
import urllib.error
import urllib.request
from typing import Any, cast

from curtail_dist.config.exalsius import TOKEN_VARIABLE, ExalsiusConfig
from curtail_dist.energy.providers.answers import ProviderFailure
from curtail_dist.energy.providers.credentials import Secret
from curtail_dist.energy.providers.web import read_whole, refusal
from curtail_dist.errors import ConfigError, ProvisionError
from curtail_dist.membership.provision.place import Refused, Unanswered

Json = dict[str, Any]

_CHUNK_BYTES = 1 << 16
_SAID_CHARACTERS = 300
_HEADERS = {
    "Accept": "application/json",
    "Content-Type": "application/json",
    "User-Agent": "curtail-dist",
}


class Declined(Refused):
    """The request does not fit how things stand (400, 404, 409); its effect may be there already."""


class ExalsiusApi:
    """One cluster. Every call raises Unanswered or Refused; used by one thread."""

    def __init__(self, config: ExalsiusConfig) -> None:
        """Ask nothing yet. Raises ProvisionError where the token is not there."""
        try:
            self._token = Secret("token of Exalsius", variable=TOKEN_VARIABLE)
        except ConfigError as error:
            raise ProvisionError(str(error)) from None
        self._url = f"{config.url.rstrip('/')}/cluster/{config.cluster}/nodes"
        self._timeout_s = config.timeout_s
        self._opener = urllib.request.build_opener(_NoRedirect())

    def machines(self) -> dict[str, str]:
        """Return the ids of the cluster's machines, with their status in Exalsius' words."""
        said = self._ask("GET", self._url)
        nodes = said.get("nodes")
        if not isinstance(nodes, list):
            raise Unanswered("Exalsius answers without a list of nodes")
        found: dict[str, str] = {}
        for node in cast("list[Any]", nodes):
            if not isinstance(node, dict):
                raise Unanswered("Exalsius answers with a node that is no object")
            one = cast("Json", node)
            found[str(one.get("id") or one.get("node_id") or "").lower()] = str(one.get("node_status") or "")
        return found

    def add(self, ids: list[str]) -> None:
        """Add machines as workers. Raises Declined, where they are in a cluster already, too."""
        self._ask("POST", self._url, {"nodes_to_add": [{"node_id": id, "node_role": "WORKER"} for id in ids]})

    def remove(self, id: str) -> None:
        """Take a machine out of the cluster. Raises Declined, where it is not in it, too."""
        self._ask("DELETE", f"{self._url}/{id}")

    def _ask(self, method: str, url: str, body: Json | None = None) -> Json:
        deadline = time.monotonic() + self._timeout_s
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data=data, headers=_HEADERS, method=method)
        request.add_unredirected_header("Authorization", f"Bearer {self._bearer()}")
        try:
            with self._opener.open(request, timeout=self._timeout_s) as reply:
                answer = read_whole(reply, deadline)
        except ProviderFailure as error:
            raise Unanswered(f"Exalsius: {error}") from None
        except urllib.error.HTTPError as error:
            with error:
                raise _meaning(error) from None
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "reason", None) or error or type(error).__name__
            raise Unanswered(f"Exalsius does not answer ({why})") from None
        if not answer.strip():
            return {}
        try:
            said = json.loads(answer)
        except ValueError:
            raise Unanswered("Exalsius answers with something that is no JSON") from None
        return cast("Json", said) if isinstance(said, dict) else {}

    def _bearer(self) -> str:
        try:
            return self._token.read()
        except ProviderFailure as error:
            raise Refused(str(error)) from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Takes a redirect for what it is: an answer other than success."""

    def redirect_request(self, *given: Any, **named: Any) -> None:
        del given, named


def _meaning(error: urllib.error.HTTPError) -> ProvisionError:
    """Return what a status other than success means."""
    said = _said(error)
    text = f"Exalsius answers {error.code}{said and ': ' + said}"
    if error.code in (400, 404, 409):
        return Declined(text)
    if error.code in (408, 429) or error.code >= 500:
        told = refusal(error.code, error.headers.get("Retry-After"), sent=error.headers.get("Date"))
        return Unanswered(text, retry_after_s=told.retry_after_s)
    if error.code in (401, 403):
        text += f"; put a valid token into {TOKEN_VARIABLE}"
    return Refused(text)


def _said(error: urllib.error.HTTPError) -> str:
    """Return its own words, in short: its errors are problem documents, sometimes one within another."""
    body: Any = error.fp
    try:
        said: Any = json.loads(body.read1(_CHUNK_BYTES))
        while isinstance(said, dict):
            said = cast("Json", said).get("detail", "")
    except (OSError, http.client.HTTPException, ValueError):
        return ""
    return str(said)[:_SAID_CHARACTERS]
