"""Mixed text from the machine this runs on: code, documentation and translations, each document once.

A corpus is a folder of `train.txt`, `new.txt` and `corpus.json`; in the text files each document ends with a
zero byte. What is new comes from packages, programs and domains of which nothing is in the training text.
"""

import gzip
import hashlib
import json
import struct
import sys
import sysconfig
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

END = b"\0"
MO_MAGIC = 0x950412DE
LEAST_BYTES, MOST_BYTES = 64, 1 << 20
BLOCK_BYTES = 1 << 22
NEW_ONE_IN = 5
"""One group of documents in so many is kept for the new text."""
SHARES = {"code": 0.45, "documentation": 0.3, "translations": 0.25}
SUFFIXES = {
    "code": {".py", ".pyi", ".h", ".hpp", ".cuh", ".cpp", ".c", ".js", ".pm", ".pl", ".css", ".cmake"},
    "documentation": {".gz", ".txt", ".md", ".rst", ".html", ".xml", ".pod", ".json", ""},
    "translations": {".mo"},
}


def roots() -> list[Path]:
    """Where text is looked for."""
    stdlib = Path(sysconfig.get_paths()["stdlib"])
    return [Path(sysconfig.get_paths()["purelib"]), stdlib, Path("/usr/share"), Path("/usr/include")]


def files(root: Path) -> Iterator[tuple[str, str, Path]]:
    """Kind, group and path of each file that may be text."""
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if "site-packages" in parts or path.is_symlink() or not path.is_file():
            continue
        kind = next((kind for kind, known in SUFFIXES.items() if path.suffix in known), None)
        if kind == "documentation" and parts[0] not in {"doc", "man", "perl"} and path.suffix in {".gz", ""}:
            continue
        if kind:
            yield kind, group(parts), path


def group(parts: tuple[str, ...]) -> str:
    """What a file belongs to: a page or domain in all its languages, else a package."""
    if parts[0] in {"man", "locale"}:
        return parts[-1].split(".")[0]
    return parts[1] if len(parts) > 2 and parts[0] == "doc" else parts[0]


def text_of(path: Path) -> bytes | None:
    """The text of a file in UTF-8; None for what is none, too short or too long."""
    try:
        data = path.read_bytes()
        if path.suffix == ".mo":
            data = translated(data)
        elif path.suffix == ".gz":
            data = gzip.decompress(data)
        data.decode()
    except (OSError, EOFError, ValueError, struct.error, zlib.error):
        return None
    return data if LEAST_BYTES <= len(data) <= MOST_BYTES and END not in data else None


def translated(catalog: bytes) -> bytes:
    """The translations of a compiled catalog, without the originals, which every language repeats."""
    magic, _, count, _, table = struct.unpack_from("<5I", catalog)
    if magic != MO_MAGIC:
        raise ValueError("no catalog")
    entries = struct.iter_unpack("<2I", catalog[table : table + 8 * count])
    lines = (catalog[start : start + length].replace(END, b"\n") for length, start in entries)
    return b"\n".join(dict.fromkeys(lines))


def gather(folder: Path, train_bytes: int, new_bytes: int) -> dict[str, Any]:
    """Make the corpus in `folder` unless it is there in this size; return its description."""
    description = folder / "corpus.json"
    asked = {"train_bytes": train_bytes, "new_bytes": new_bytes}
    if description.is_file() and json.loads(description.read_text())["asked"] == asked:
        return json.loads(description.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    chosen = choose(train_bytes, new_bytes)
    found = {"asked": asked, **{name: write(folder / f"{name}.txt", chosen[name]) for name in chosen}}
    description.write_text(json.dumps(found))
    return found


def choose(train_bytes: int, new_bytes: int) -> dict[str, list[tuple[str, bytes]]]:
    """Kind and text of the documents of each part, well mixed."""
    seen = dict[bytes, tuple[str, str, bytes]]()
    for root in roots():
        for kind, name, path in files(root):
            if (data := text_of(path)) is not None:
                seen.setdefault(hashlib.sha256(data).digest(), (kind, name, data))
    left = {"train": train_bytes, "new": new_bytes}
    room = {(part, kind): left[part] * share for part in left for kind, share in SHARES.items()}
    chosen: dict[str, list[tuple[str, bytes]]] = {part: [] for part in left}
    for digest in sorted(seen):
        kind, name, data = seen[digest]
        part = "train" if hashlib.sha256(f"{kind} {name}".encode()).digest()[0] % NEW_ONE_IN else "new"
        if room[part, kind] > 0:
            room[part, kind] -= len(data)
            chosen[part].append((kind, data))
    # Not in the order in which they were chosen: its end has only the kinds of which there is little.
    return {part: sorted(chosen[part], key=lambda one: order(one[1])) for part in chosen}


def order(data: bytes) -> bytes:
    return hashlib.sha256(b"order" + data).digest()


def write(path: Path, documents: list[tuple[str, bytes]]) -> dict[str, Any]:
    """Write one part; return its size, hash and mixture."""
    whole = hashlib.sha256()
    with path.open("wb") as file:
        for _, data in documents:
            file.write(data + END)
            whole.update(data + END)
    kinds = {kind: sum(len(data) for one, data in documents if one == kind) for kind in SHARES}
    return {
        "bytes": sum(kinds.values()),
        "documents": len(documents),
        "sha256": whole.hexdigest(),
        "bytes_of_kind": kinds,
    }


def texts(path: Path, limit: int = sys.maxsize) -> Iterator[str]:
    """The documents of a part, read a block at a time, until they have `limit` bytes."""
    rest, taken = b"", 0
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            *whole, rest = (rest + block).split(END)
            for data in whole:
                if taken >= limit:
                    return
                taken += len(data)
                yield data.decode()


if __name__ == "__main__":
    print(json.dumps(gather(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])), indent=1))
