"""What a page may ask for, checked."""

import json
from dataclasses import dataclass
from typing import Any

from nanochat.conversation import ASSISTANT, SYSTEM, USER, Message
from nanochat.generate import Sampling
from nanochat.settings import check_known, require

MOST_BYTES = 256_000
MOST_MESSAGES = 200
KEYS = ["messages", "complete", "temperature", "top_k", "seed", "max_tokens"]


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """What holds where a request does not say."""

    sampling: Sampling
    max_tokens: int
    """Tokens of an answer; a request may ask for fewer."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request."""

    messages: tuple[Message, ...]
    complete: bool
    """Go on with the one message as a text, instead of answering."""
    sampling: Sampling
    max_tokens: int


def read_request(body: bytes, defaults: Defaults) -> Asked:
    """Read the JSON of a request. Raises ValueError, one line, for what it may not say."""
    require(len(body) <= MOST_BYTES, "the length of the request", len(body), f"at most {MOST_BYTES} bytes")
    try:
        raw: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the request is no JSON ({error}); it must be an object with messages") from error
    require(isinstance(raw, dict), "the request", type(raw).__name__, "an object with messages")
    check_known("the request", raw, KEYS)
    complete = raw.get("complete", False)
    require(isinstance(complete, bool), "complete", complete, "true or false")
    most = _whole(raw, "max_tokens", defaults.max_tokens)
    require(1 <= most <= defaults.max_tokens, "max_tokens", most, f"in [1, {defaults.max_tokens}]")
    sampling = Sampling(
        temperature=_temperature(raw, defaults.sampling.temperature),
        top_k=_whole(raw, "top_k", defaults.sampling.top_k),
        seed=_whole(raw, "seed", defaults.sampling.seed),
    )
    messages = _messages(raw.get("messages"), complete=complete)
    return Asked(messages=messages, complete=complete, sampling=sampling, max_tokens=most)


def _messages(raw: Any, *, complete: bool) -> tuple[Message, ...]:
    holds = isinstance(raw, list) and 1 <= len(raw) <= MOST_MESSAGES
    require(
        holds, "messages", raw if not isinstance(raw, list) else len(raw), f"1 to {MOST_MESSAGES} messages"
    )
    messages: list[Message] = []
    for one in raw:
        holds = isinstance(one, dict) and isinstance(one.get("content"), str)
        require(holds, "a message", one, "an object with role and content")
        roles = (USER, ASSISTANT, SYSTEM)
        require(
            one.get("role") in roles, "the role of a message", one.get("role"), f"one of {', '.join(roles)}"
        )
        messages.append(Message(one["role"], one["content"]))
    require(not complete or len(messages) == 1, "the number of messages", len(messages), "1, to go on with")
    return tuple(messages)


def _temperature(raw: dict[str, Any], default: float) -> float:
    value = raw.get("temperature", default)
    holds = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 10
    require(holds, "temperature", value, "a number in [0, 10]")
    return float(value)


def _whole(raw: dict[str, Any], key: str, default: int) -> int:
    value = raw.get(key, default)
    require(type(value) is int and 0 <= value < 2**63, key, value, "a whole number, at least 0")
    return value
