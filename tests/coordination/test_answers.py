"""What etcd's JSON gateway answers is read for what it is: a call's errors and a stream's have two shapes."""

import json

import pytest

from curtail_dist.coordination.answers import NoAnswer, TokenRefused, UnknownCaller, parse, unavailable
from curtail_dist.errors import CoordinationError, LeaseExpired, StoreUnavailable

UNAVAILABLE, INVALID, NOT_FOUND, UNKNOWN, DENIED, UNAUTHENTICATED = 14, 3, 5, 2, 7, 16


def of_a_call(code: int, message: str) -> bytes:
    return json.dumps({"error": message, "code": code, "message": message}).encode()


def of_a_stream(code: int, message: str) -> bytes:
    return json.dumps({"error": {"grpc_code": code, "http_code": 503, "message": message}}).encode()


@pytest.fixture(params=[of_a_call, of_a_stream])
def error(request: pytest.FixtureRequest):
    return request.param


def test_a_gateway_that_lost_its_server_gives_no_answer(error):
    with pytest.raises(NoAnswer, match="here:1 \\(error reading from server: EOF\\)") as caught:
        parse("here:1", 503, error(UNAVAILABLE, "error reading from server: EOF"))
    assert caught.value.sent


def test_what_etcd_refuses_is_said_in_its_words(error):
    with pytest.raises(CoordinationError, match="HTTP 400\\): key is not provided"):
        parse("here:1", 400, error(INVALID, "key is not provided"))


def test_a_lease_that_is_gone_is_said_to_be(error):
    with pytest.raises(LeaseExpired):
        parse("here:1", 404, error(NOT_FOUND, "etcdserver: requested lease not found"))


def test_a_gateway_that_lost_its_server_over_tls_gives_no_answer(error):
    # What a stopping etcd says of its connection to itself.
    message = "OK: HTTP status code 200; transport: missing content-type field"
    with pytest.raises(NoAnswer) as caught:
        parse("here:1", 500, error(UNKNOWN, message))
    assert caught.value.sent
    with pytest.raises(CoordinationError):
        parse("here:1", 500, error(UNKNOWN, "etcdserver: something of its own"))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (UNAUTHENTICATED, "etcdserver: invalid auth token"),
        (INVALID, "etcdserver: revision of auth store is old"),
    ],
)
def test_a_token_that_is_too_old_is_told_from_other_refusals(error, code, message):
    with pytest.raises(TokenRefused):
        parse("here:1", 401, error(code, message))


@pytest.mark.parametrize(
    ("code", "message"),
    [(DENIED, "etcdserver: permission denied"), (INVALID, "etcdserver: user name is empty")],
)
def test_whom_etcd_does_not_let_is_told_what_to_do(error, code, message):
    with pytest.raises(UnknownCaller, match=r"; name a user who may do this.*`curtail keys role`"):
        parse("here:1", 403, error(code, message))


def test_only_a_first_call_that_nobody_will_ever_answer_is_no_outage():
    lasting = NoAnswer("a:1", "no trust", sent=False, remedy="mend it")
    passing = NoAnswer("b:1", "connection refused", sent=False)
    assert type(unavailable([lasting], first=True)) is CoordinationError
    assert str(unavailable([lasting], first=True)) == "etcd cannot be used at a:1 (no trust); mend it"
    for failures, first in (([lasting], False), ([lasting, passing], True), ([passing], True)):
        assert isinstance(unavailable(failures, first=first), StoreUnavailable)
    assert "; mend it; start it" in str(unavailable([lasting], first=False))
