"""A data set of short rows, for scripts that learn how long each is."""

import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def write_data(folder: Path, rows: int) -> Path:
    """Write it; return its manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    shard = folder / "rows.parquet"
    pq.write_table(pa.table({"text": ["x" * (row % 50) for row in range(rows)]}), shard)
    digest = hashlib.sha256(shard.read_bytes()).hexdigest()
    entry = {
        "file": shard.name,
        "split": "train",
        "rows": rows,
        "bytes": shard.stat().st_size,
        "sha256": digest,
    }
    manifest = {"schema": 1, "name": "lengths", "column": "text", "hash": digest, "shards": [entry]}
    path = folder / "manifest.json"
    path.write_text(json.dumps(manifest))
    return path
