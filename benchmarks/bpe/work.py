"""What one process does for one library: `python -m bpe.work WHAT '{"library": ..., ...}'` prints JSON."""

import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from bpe.corpus import texts
from bpe.encoders import ENCODERS, ids_of, read_merges
from bpe.trainers import TRAINERS


def memory_mb(field: str) -> float:
    """A field of this process's status; `VmHWM` is the most that was resident, shared files included."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name == field:
            return int(rest.split()[0]) * 1024 / 1e6
    raise ValueError(f"/proc/self/status has no {field}")


def train(asked: dict[str, Any]) -> dict[str, Any]:
    """Seconds from the first text to the last merge, and the peak of memory; the tokens go to a file."""
    path = Path(asked["path"])
    read = texts(path)
    learn = TRAINERS[asked["library"]]
    before = memory_mb("VmHWM")
    began, began_cpu = time.monotonic(), time.process_time()
    tokens = learn(read, path, asked["vocabulary"], asked["threads"])
    seconds, cpu = time.monotonic() - began, time.process_time() - began_cpu
    peak = memory_mb("VmHWM")
    Path(asked["tokens"]).write_text("\n".join(token.hex() for token in tokens()))
    return {"seconds": seconds, "cpu_seconds": cpu, "peak_mb": peak, "peak_before_mb": before}


def merges(asked: dict[str, Any]) -> dict[str, Any]:
    """Train ours and write its merges, as pairs of ids."""
    import rustbpe

    made: Any = rustbpe.Tokenizer.train(texts(Path(asked["path"])), asked["vocabulary"])
    Path(asked["merges"]).write_text(json.dumps(made.merges))
    return {"sha256": made.sha256}


def encode(asked: dict[str, Any]) -> dict[str, Any]:
    """MB/s over new text by an encoder that has seen other text before."""
    train_path = Path(asked["train"])
    encoder = ENCODERS[asked["library"]](read_merges(asked["merges"]), asked["form"], train_path)
    encoder(list(texts(train_path, asked["warm_bytes"])), asked["threads"])
    new = list(texts(Path(asked["new"])))
    size = sum(len(text.encode()) for text in new)
    began, began_cpu = time.monotonic(), time.process_time()
    encoded = encoder(new, asked["threads"])
    seconds, cpu = time.monotonic() - began, time.process_time() - began_cpu
    ids = ids_of(encoded)
    return {
        "mb_per_s": size / 1e6 / seconds,
        "mb_per_cpu_s": size / 1e6 / cpu,
        "ids": len(ids),
        "sha256": hashlib.sha256(ids.tobytes()).hexdigest(),
        "peak_mb": memory_mb("VmHWM"),
    }


def run_of(asked: dict[str, Any]) -> dict[str, Any]:
    """Seconds for one text that repeats one string."""
    encoder = ENCODERS[asked["library"]](read_merges(asked["merges"]), "lists", Path())
    encoder(["warm up"], 1)
    began = time.monotonic()
    encoded = encoder([asked["unit"] * asked["times"]], 1)
    return {"seconds": time.monotonic() - began, "ids": len(encoded[0])}


def main() -> None:
    from bpe import exact, growth

    what = {
        "train": train,
        "merges": merges,
        "encode": encode,
        "run": run_of,
        "ids": exact.ids,
        "strings": exact.strings,
        "classes": exact.classes,
        "distinct": growth.distinct,
        "stream": growth.stream,
    }
    print(json.dumps(what[sys.argv[1]](json.loads(sys.argv[2]))))


if __name__ == "__main__":
    main()
