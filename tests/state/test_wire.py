import socket
import time

import pytest

from curtail_dist.state.wire import receive_into, receive_message, send_message


@pytest.fixture
def ends():
    near, far = socket.socketpair()
    with near, far:
        near.settimeout(20)
        yield near, far


def test_a_message_comes_as_it_was_sent(ends):
    near, far = ends
    send_message(far, {"a": [1, "b"], "c": None})
    assert receive_message(near, limit_bytes=100, within=20) == {"a": [1, "b"], "c": None}


def test_a_message_that_is_too_long_is_refused_before_it_is_read(ends):
    near, far = ends
    far.sendall((101).to_bytes(4, "big"))
    with pytest.raises(ValueError, match="101 bytes is announced"):
        receive_message(near, limit_bytes=100, within=20)


@pytest.mark.parametrize("text", [b"[1]", b"3", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_mapping_is_refused(ends, text):
    near, far = ends
    far.sendall(len(text).to_bytes(4, "big") + text)
    with pytest.raises(ValueError, match=r"."):
        receive_message(near, limit_bytes=1_000_000, within=20)


def test_a_message_that_trickles_in_has_one_deadline_for_all_of_it(ends):
    near, far = ends
    far.sendall((100).to_bytes(4, "big") + b"x")
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        receive_message(near, limit_bytes=100, within=0.2)
    assert time.monotonic() - began < 10


def test_bytes_that_end_early_are_an_error(ends):
    near, far = ends
    far.sendall(b"abc")
    far.close()
    with pytest.raises(ConnectionError, match="2 bytes early"):
        receive_into(near, memoryview(bytearray(5)))
