"""Ctrl-C, as a terminal sends it, ends a training in whatever it is doing."""

import signal
import subprocess
import sys

import pytest

GENEROUS_S = 10.0
"""A second is the aim; a busy machine may not even schedule the process in that time."""
PROGRAM = """
import itertools, sys
from rustbpe import Tokenizer

def reading():
    for number in itertools.count():
        if number == 1000:
            print("now", flush=True)
        yield f"{number:x} text that never ends " * 40

def slow():
    print("now", flush=True)
    while True:
        yield "x"

def merging():
    state = 1
    for _ in range(300_000):
        state = state * 6364136223846793005 % 2**64
        yield format(state, "x").translate(str.maketrans("0123456789", "ghijklmnop"))
    print("now", flush=True)

def large_texts():
    text = " ".join(map(hex, range(1_000_000)))
    for number in itertools.count():
        if number == 1:
            print("now", flush=True)
        yield text

try:
    Tokenizer.train({texts}(), 256 + 200_000)
except KeyboardInterrupt:
    print("stopped", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("texts", ["reading", "slow", "merging", "large_texts"])
def test_ctrl_c_ends_a_training_at_once(texts):
    program = PROGRAM.replace("{texts}", texts)
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "now\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=GENEROUS_S)[0] == "stopped\n"
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()
