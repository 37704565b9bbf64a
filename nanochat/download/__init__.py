"""A data set of Parquet shards from a network: resumed, checked by hash, several files at once."""

from nanochat.download.fetch import Failed, Patience
from nanochat.download.root import download

__all__ = ["Failed", "Patience", "download"]
