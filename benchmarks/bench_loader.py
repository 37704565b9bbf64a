"""How fast nanochat's loader feeds: Parquet in, windows of tokens out.

    python benchmarks/bench_loader.py [--megabytes 100] [--runs 7] [--folder runs/bpe]
        [--out benchmarks/results/loader.json]

The text is what the machine has (`bpe/corpus.py`), in shards of 53,248 rows; the tokenizer has 32,768 tokens
and was trained on it. Each run reads all of it once, bos before each document, nothing cropped: verified,
unpacked, encoded and cut into windows for a d20 by the loader's thread, while another thread takes them and
does nothing else. The need of a d20 on one H200 is an assumption: 60 % of its 989e12 operations a second.

Not shown: a loader that shares its cores with training, other text, a disk that is slower than memory.
"""

import argparse
import statistics
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from bench_bpe import NEW_BYTES, TRAIN_BYTES
from bpe import corpus
from thinlink.record import conditions, save, spread

from nanochat import shards
from nanochat.dataset import manifest_path
from nanochat.model import GPTConfig, build_model
from nanochat.read_ahead import read_ahead
from nanochat.speed import PEAK_FLOPS
from nanochat.stream import Place, TokenStream
from nanochat.tok_train import tokenizer_path, train_tokenizer_to
from nanochat.tokenizer import Tokenizer

VOCABULARY = 32_768
BATCH, SEQUENCE = 32, 2_048
ASSUMED_MFU = 0.6
ASKED_TOKENS_PER_S, ASKED_RATIO = 10e6, 5.0


def prepare(root: Path, folder: Path, size: int) -> dict[str, Any]:
    """Write the text as Parquet and train a tokenizer on it; return what the text is."""
    found = corpus.gather(folder, TRAIN_BYTES, NEW_BYTES)
    directory = manifest_path(root).parent
    texts = {"train": corpus.texts(folder / "train.txt", size), "val": ["none"]}
    shards.write_dataset(directory, name="machine", source="what the machine has", texts=texts)
    train_tokenizer_to(root, vocab_size=VOCABULARY, max_chars=10**9, doc_cap=10_000)
    return {**found["train"], "used_bytes": size}


def stream(root: Path) -> TokenStream:
    return TokenStream(
        shards.load(manifest_path(root)),
        Tokenizer.load(tokenizer_path(root)),
        batch_size=BATCH,
        sequence_length=SEQUENCE,
    )


def windows_of(root: Path) -> int:
    """Full batches of one pass."""
    rows = sum(shard.rows for shard in shards.load(manifest_path(root)).of_split("train"))
    return next(at for at, one in enumerate(stream(root).batches(Place())) if one.place.row >= rows)


def feed(root: Path, batches: int) -> dict[str, float]:
    """Read a pass, from the first look at the disk to the last batch."""
    began = time.perf_counter()
    with read_ahead(islice(stream(root).batches(Place()), batches)) as ready:
        tokens = sum(placed.batch.num_tokens for placed in ready)
    seconds = time.perf_counter() - began
    return {"tokens": tokens, "seconds": seconds, "tokens_per_s": tokens / seconds}


def need() -> float:
    """Tokens a second of a d20 on one H200, by the assumption."""
    with torch.device("meta"):
        model = build_model(GPTConfig.from_depth(20, vocab_size=65_536))
    return ASSUMED_MFU * PEAK_FLOPS["H200"] / model.flops_per_token()


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast nanochat's loader feeds.")
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--folder", type=Path, default=Path("runs/bpe"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/loader.json"))
    args = parser.parse_args()
    before = conditions()
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        text = prepare(root, args.folder, args.megabytes * 10**6)
        batches = windows_of(root)
        runs = [feed(root, batches) for _ in range(args.runs)]
    rates = sorted(run["tokens_per_s"] for run in runs)
    median, needed = statistics.median(rates), need()
    result = {
        "what": "packed tokens a second from Parquet, beside the need of a d20 on an H200",
        "not_shown": "a loader that shares its cores with training; other text; a slow disk",
        "text": text,
        "vocabulary": VOCABULARY,
        "tokens": runs[0]["tokens"],
        "tokens_per_s": spread(rates),
        "d20_on_an_h200_tokens_per_s": {"assumed_mfu": ASSUMED_MFU, "value": needed},
        "must": {
            "tokens_per_s": at_least(median, ASKED_TOKENS_PER_S),
            "ratio_to_need": at_least(median / needed, ASKED_RATIO),
        },
    }
    save(args.out, result, before=before)


def at_least(value: float, asked: float) -> dict[str, Any]:
    return {"at_least": asked, "value": value, "holds": value >= asked}


if __name__ == "__main__":
    main()
