"""What etcd's JSON gateway answers is read for what it is: a call's errors and a stream's have two shapes."""

import json

import pytest

from curtail_dist.coordination.answers import NoAnswer, parse
from curtail_dist.errors import CoordinationError, LeaseExpired

UNAVAILABLE, INVALID, NOT_FOUND = 14, 3, 5


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
