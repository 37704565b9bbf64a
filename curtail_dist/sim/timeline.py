"""A schedule's history as text: virtual time, who, what."""

from collections.abc import Iterator

from curtail_dist.membership.records import Commit, Epoch, decode
from curtail_dist.sim.history import Copy, Happening, History, Stand, Steps, Write
from curtail_dist.sim.setting import KEYS, Fault, Setting
from curtail_dist.telemetry.events import Event, PeerMissed, Phase


def lines(history: History) -> Iterator[str]:
    """Yield a line for each happening, steps of a round together."""
    for one in history.happenings:
        text = _text(one)
        if text:
            yield f"{one.at:9.3f}  {one.who:8} {text}"


def heading(setting: Setting) -> Iterator[str]:
    """Yield what was played."""
    rules = setting.rules
    sites = ", ".join(setting.sites)
    yield f"seed {setting.seed}: {sites}; {setting.corpus.rows} rows; calm at {setting.calm_at:.1f} s"
    yield (
        f"  ttl {rules.ttl_s:.0f} s, grace {rules.grace_s} s, patience {rules.patience_s:.0f} s, outage "
        f"{rules.outage_s:.0f} s, park {rules.park_s:.0f} s"
    )
    yield (
        f"  durable before commit {rules.durable_before_commit}, unreachable {rules.unreachable}, snapshots "
        f"{'shared' if setting.shared else 'apart'}, {setting.keep} kept"
    )
    for fault in setting.faults:
        yield f"  {_fault(fault)}"


def _fault(fault: Fault) -> str:
    where = f" {fault.site}" + (f"-{fault.other}" if fault.kind == "cut" else "")
    point = f" {fault.phase} {fault.effect} no. {fault.nth}" if fault.effect else ""
    return f"{fault.kind}{where}{point} from {fault.at:.3f}, lasting {fault.lasts:.1f} s"


def _text(one: Happening) -> str:
    what = one.what
    if isinstance(what, Write):
        return _write(what)
    if isinstance(what, Steps):
        return (
            "" if one.kind == "trained" else f"{one.kind} {what.number} steps: {what.reason} {what.payload}"
        )
    if isinstance(what, Stand):
        return f"stands on {what.hash}, {what.how}"
    if isinstance(what, Copy):
        return f"{one.kind}: snapshot {what.version} {what.hash} at {what.url}"
    if isinstance(what, Fault):
        return f"strikes: {_fault(what)}"
    if isinstance(what, Event):
        return _event(what)
    return f"{one.kind} {what}".rstrip()


def _event(event: Event) -> str:
    if isinstance(event, Phase):
        return ""
    if isinstance(event, PeerMissed):
        return f"misses {event.peer}: {event.reason}"
    return f"{event.NAME}"


def _write(write: Write) -> str:
    name = write.key.removeprefix(KEYS.root)
    if write.value is None:
        return f"[{write.revision}] {name} is gone"
    if write.key == KEYS.epoch:
        epoch = Epoch.decode(write.value)
        members = ", ".join(f"{member.site}/{member.incarnation}" for member in epoch.members)
        return f"[{write.revision}] EPOCH {epoch.number} {epoch.reason}: {members}"
    if write.key == KEYS.head:
        commit = Commit.decode(write.value)
        work = ", ".join(f"{work.site} {work.steps}" for work in commit.work)
        rows = f"{commit.ledger.rows_done}/{commit.total_rows}"
        name = f"COMMIT {commit.version} {commit.hash} on {commit.parent}"
        return f"[{write.revision}] {name} ({work}), rows {rows}"
    fields = {key: value for key, value in decode(write.value).items() if key not in ("host", "path")}
    member = fields.get("member")
    if isinstance(member, dict):
        fields["member"] = f"{member['site']}/{member['incarnation']}"
    return f"[{write.revision}] {name} = {fields}"
