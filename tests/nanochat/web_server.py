"""A real web chat to talk to: a root with a model whose answers are long, its server, what it has to say."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import torch

from nanochat.chat import Speaker
from nanochat.checkpoint import checkpoint_path, save
from nanochat.conversation import Message
from nanochat.generate import Sampling
from nanochat.model import GPTConfig, build_model, plain
from nanochat.saved import load_newest
from nanochat.tok_train import tokenizer_path
from nanochat.tokenizer import train_tokenizer

MOST = 300
"""Tokens of an answer."""
MANY = 2_400
"""Tokens of an answer that takes a while."""


def write_root(root):
    """A model that says something else after each prompt, with a long way to go."""
    tokenizer = train_tokenizer(
        [Path(__file__).read_text()], vocab_size=400, doc_cap=20_000, max_chars=20_000
    )
    tokenizer.save(tokenizer_path(root))
    config = GPTConfig(n_layer=2, n_embd=64, n_head=2, n_kv_head=2, vocab_size=400, sequence_length=256)
    model = build_model(config, seed=1)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=torch.Generator().manual_seed(3)))
        model.head.weight[list(tokenizer.bpe.special_tokens.values())] = 0  # no answer ends by itself
    facts = {"model": plain(config), "tokenizer": tokenizer.hash, "step": 3}
    save(checkpoint_path(root, 3), model, {}, facts)
    return root


@contextmanager
def served(root, most):
    """The address of a real server whose answers are so long."""
    options = ["--port", "0", "--max-tokens", str(most), "--temperature", "0", "--device", "cpu"]
    process = subprocess.Popen(
        [sys.executable, "-m", "nanochat.web", str(root), *options],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line
        yield found[0]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) in (0, 130)
    finally:
        process.kill()
        process.communicate()


def spoken(root, *messages, most=MOST, complete=False):
    """What the model says after the messages."""
    saved = load_newest(root)
    speaker = Speaker(saved.model, saved.tokenizer, sampling=Sampling(temperature=0), most=most)
    pieces = (
        speaker.go_on(messages[0])
        if complete
        else speaker.reply([Message(("user", "assistant")[i % 2], text) for i, text in enumerate(messages)])
    )
    return "".join(pieces)


def until(holds):
    """Wait until something holds; fail after a while."""
    deadline = time.monotonic() + 30
    while not (found := holds()):
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)
    return found


def waiting(server):
    """Answers that a server draws, or has waiting."""
    return httpx.get(f"{server}/health").json()["waiting"]
