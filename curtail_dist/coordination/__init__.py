"""Coordination: the one shared service, as a contract and its two implementations."""

from curtail_dist.coordination.embedded import EmbeddedEtcd
from curtail_dist.coordination.etcd import EtcdStore, open_store
from curtail_dist.coordination.etcd_binary import find_etcd
from curtail_dist.coordination.keyspace import Keyspace
from curtail_dist.coordination.memory import MemoryStore
from curtail_dist.coordination.memory_cluster import MemoryCluster
from curtail_dist.coordination.store import (
    Change,
    CoordinationStore,
    Entry,
    Lease,
    Listing,
    TxnResult,
    Watch,
)

__all__ = [
    "Change",
    "CoordinationStore",
    "EmbeddedEtcd",
    "Entry",
    "EtcdStore",
    "Keyspace",
    "Lease",
    "Listing",
    "MemoryCluster",
    "MemoryStore",
    "TxnResult",
    "Watch",
    "find_etcd",
    "open_store",
]
