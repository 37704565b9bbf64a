"""One request for JSON, and what its failures mean."""

import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

from curtail_dist.energy.providers.answers import ProviderFailure
from curtail_dist.units import Seconds

_MAX_REPLY_BYTES = 8 << 20
_CHUNK_BYTES = 1 << 16
_HEADERS = {"Accept": "application/json", "User-Agent": "curtail-dist"}
"""Some servers turn away what calls itself by the name of a programming language."""


def get_json(url: str, *, headers: Mapping[str, str] | None = None, timeout_s: Seconds) -> Any:
    """Return what a server answers, as JSON. Raises ProviderFailure, which shows no header and no query."""
    request = urllib.request.Request(url, headers=_HEADERS)
    for name, value in (headers or {}).items():
        # Unredirected: a server that sends us elsewhere does not make us show a token there.
        request.add_unredirected_header(name, value)
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as reply:
            body = read_whole(reply, time.monotonic() + timeout_s)
    except urllib.error.HTTPError as error:
        with error:
            sent = error.headers.get("Date")
            raise refusal(error.code, error.headers.get("Retry-After"), sent=sent) from None
    except (http.client.InvalidURL, ValueError):
        # What does not fit into a request may be the credential in it: not repeated.
        raise ProviderFailure(
            "it cannot be asked: the address, or what is sent as a header, holds characters that none may"
        ) from None
    except (OSError, http.client.HTTPException) as error:
        raise ProviderFailure(f"it does not answer ({_why(error)})") from None
    try:
        return json.loads(body)
    except ValueError:
        raise ProviderFailure("it answers with something that is no JSON") from None


def refusal(code: int, retry_after: str | None, *, sent: str | None = None) -> ProviderFailure:
    """Return what an HTTP status other than success means; `sent` is the reply's own date."""
    if code in (401, 403):
        what = "does not know who asks: check the credentials" if code == 401 else "refuses: check the plan"
        return ProviderFailure(f"it answers {code} and {what}", refused=True)
    if code == 429:
        wait = _seconds(retry_after, sent)
        until = "" if wait is None else f", to be asked again in {wait:.0f} s"
        return ProviderFailure(f"it answers 429, too many requests{until}", retry_after_s=wait)
    return ProviderFailure(f"it answers {code}", retry_after_s=_seconds(retry_after, sent))


def shown(url: str) -> str:
    """Return an address without what may be secret in it."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class Pieces(Protocol):
    """A reply that is read in pieces, each as it comes."""

    def read1(self, amt: int, /) -> bytes:
        """Return what is there, at most so many bytes; nothing at the end."""
        ...


def read_whole(reply: Pieces, deadline: float, *, most_bytes: int = _MAX_REPLY_BYTES) -> bytes:
    """Return a reply's body: a server that drips it holds us no longer than one that is silent.

    Raises ProviderFailure for one that is longer than `most_bytes`, or not there by `deadline` (monotonic).
    """
    parts: list[bytes] = []
    size = 0
    while part := reply.read1(_CHUNK_BYTES):
        parts.append(part)
        size += len(part)
        if size > most_bytes:
            raise ProviderFailure(f"its answer is longer than {most_bytes} bytes")
        if time.monotonic() > deadline:
            raise ProviderFailure("it does not answer whole in time")
    return b"".join(parts)


def _seconds(retry_after: str | None, sent: str | None) -> Seconds | None:
    """Read a Retry-After header: seconds, or a date, which counts from the reply's own, by the same clock."""
    if retry_after is None:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    until, now = _date(retry_after), _date(sent or "") or datetime.now(UTC)
    return None if until is None else max(0.0, (until - now).total_seconds())


def _date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _why(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return str(reason or error or type(error).__name__)
