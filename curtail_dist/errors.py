"""The error tree: every error says what is, what must be, and what to do.

CurtailError
├── UserError              what the user gave is wrong; verbs exit with 2
│   ├── ConfigError        the run file
│   ├── TraceError         a carbon-intensity trace
│   └── DataError          a manifest, shard or tokenizer
├── SignalUnavailable      no fresh reading; never to be taken for a low one
├── MeterUnavailable       what was drawn cannot be known; never to be taken for nothing
├── CoordinationError
│   ├── StoreUnavailable   the store did not answer in time; the effect of a write is unknown
│   ├── LeaseExpired       the lease is gone; whoever held it re-registers
│   └── StoreReplaced      another etcd answers, or one that was set back: nothing it says can be trusted
├── MembershipError
│   ├── Expelled           the run's epoch no longer lists this site: rejoin
│   ├── Superseded         a newer process of this site took its place: end
│   └── IdentityMismatch   this site would train something else than the run does
├── ExchangeError
│   ├── PeerLost           a member of the group died, hung, or closed its connection
│   └── RankLost           another rank of this site is gone: end, the site's ranks start anew
├── StateError
│   ├── SnapshotMissing    a snapshot is not where it is looked for
│   ├── SnapshotCorrupt    a snapshot is torn or does not have its hash
│   ├── StateDiverged      members computed different bytes for the same version
│   └── RunForgotten       the store knows nothing of a run of which there are snapshots
└── ProvisionError         a site's ranks could not be started or stopped
"""


class CurtailError(Exception):
    """Base of every error this library raises on purpose."""


class UserError(CurtailError):
    """What the user gave is wrong; the message is one line that says how to mend it."""


class ConfigError(UserError):
    """The run file, or a value that stands in for one of its keys, is wrong."""


class TraceError(UserError):
    """A carbon-intensity trace cannot be read or does not cover the run."""


class DataError(UserError):
    """A manifest, shard or tokenizer is missing, corrupt, or another than the run's."""


class SignalUnavailable(CurtailError):
    """There is no fresh reading. Callers do not start a site, and drain one that runs."""


class MeterUnavailable(CurtailError):
    """What was drawn up to now cannot be known; never to be taken for nothing."""


class CoordinationError(CurtailError):
    """Base of what goes wrong between a process and the coordination store."""


class StoreUnavailable(CoordinationError):
    """The store did not answer within its deadline; whether a write took effect is unknown."""


class LeaseExpired(CoordinationError):
    """The lease no longer exists in the store."""


class StoreReplaced(CoordinationError):
    """The store that answers is not the one the run began with, or holds an older state of it."""


class MembershipError(CurtailError):
    """Base of what keeps a site out of a run."""


class Expelled(MembershipError):
    """The run's current epoch does not list this site's incarnation; its open round is discarded."""


class Superseded(MembershipError):
    """A newer process of the same site is registered; this one must end."""


class IdentityMismatch(MembershipError, UserError):
    """A site's model, tokenizer, data or outer configuration differs from the run's."""


class ExchangeError(CurtailError):
    """Base of what goes wrong while members of an epoch talk to each other."""


class PeerLost(ExchangeError):
    """A peer did not take part: its connection closed, its lease lapsed, or the deadline passed."""


class RankLost(ExchangeError):
    """Another rank of this site died or left: its ranks are of no use without it."""


class StateError(CurtailError):
    """Base of what is wrong with a version of the run's state."""


class SnapshotMissing(StateError):
    """There is no complete snapshot of this version where this site looks for snapshots."""


class SnapshotCorrupt(StateError):
    """A snapshot is incomplete or its bytes do not have the recorded hash."""


class StateDiverged(StateError):
    """Two members hold different bytes for the same version."""


class RunForgotten(StateError, UserError):
    """The store knows nothing of this run, and there are its snapshots: it is recovered, not founded anew."""


class ProvisionError(CurtailError):
    """A provisioner could not start or stop a site's ranks."""
