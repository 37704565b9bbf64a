"""I6: rounds go on within a bound after a member dies or stops, and the run ends once nothing is broken."""

from collections.abc import Iterator

from curtail_dist.sim.chain import Chain
from curtail_dist.sim.history import Happening
from curtail_dist.sim.setting import Fault, Setting
from curtail_dist.sim.world import World
from curtail_dist.units import Seconds

_SLACK_S = 3.0
_NOWHERE = ("StateError", "SnapshotMissing", "SnapshotCorrupt")


def run_ends(world: World, chain: Chain) -> Iterator[str]:
    """Once nothing is broken any more the run comes to its end, and every process with it."""
    if world.history.wrong or _stopped(world):
        return
    now = world.kernel.now
    if not chain.heads or not chain.heads[-1].commit.complete:
        version = chain.heads[-1].commit.version if chain.heads else "none"
        yield f"version {version} is not complete at {now:.1f}, calm since {world.setting.calm_at:.1f}"
    elif world.processes:
        left = sorted(process.name for process in world.processes.values())
        yield f"the run is complete, and {', '.join(left)} did not end by {now:.1f}"


def survivors_go_on(world: World, chain: Chain) -> Iterator[str]:
    """After a lone fault in an epoch of several members the next commit comes within the bound."""
    bound = commit_bound_s(world.setting)
    strikes = [one for one in world.history.of("fault") if isinstance(one.what, Fault)]
    for one in world.history.of("killed", "hung"):
        near = [strike for strike in strikes if one.at - bound <= strike.at <= one.at + bound]
        if len(near) != 1 or near[0].what.kind not in ("kill", "hang") or not _shared_epoch(chain, one):
            continue
        if any(head.commit.complete for head in chain.heads if head.at <= one.at):
            continue
        after = [head.at for head in chain.heads if head.at > one.at]
        if not after or after[0] - one.at > bound:
            when = f"{after[0] - one.at:.1f} s later" if after else "never"
            yield f"{one.who} was {one.kind} at {one.at:.3f}; next commit {when}, the bound is {bound:.1f} s"


def commit_bound_s(setting: Setting) -> Seconds:
    """Return how long after a death or a hang the next commit may come: by lease, with a whole round."""
    rules = setting.rules
    round_s = 1.1 * rules.period * max(setting.step_s.values())
    calls_s = 2.0 if setting.loss or setting.slow else 0.0
    return (
        rules.ttl_s
        + round_s
        + 2 * rules.grace_s
        + 3 * setting.write_s
        + 2 * setting.bulk_s
        + 4 * setting.lag_s
        + 4 * calls_s
        + _SLACK_S
    )


def _shared_epoch(chain: Chain, one: Happening) -> bool:
    """Whether the process was a member of an epoch of several when it was struck."""
    stood = [seated.epoch for seated in chain.epochs if seated.at <= one.at]
    names = [f"{member.site}/{member.incarnation}" for member in stood[-1].members] if stood else []
    return len(names) > 1 and one.who in names


def _stopped(world: World) -> bool:
    """Whether the state is nowhere: a legal end where disks were spoiled.

    Every site's last process said so; where each has its own snapshots and one rotted, that site's alone: the
    others may have been told to wait for it.
    """
    last = {one.who.split("/")[0]: str(one.what).split(":")[0] for one in world.history.of("ended")}
    said = [last.get(site) in _NOWHERE for site in world.setting.sites]
    rotten = any(True for _ in world.history.of("rotten"))
    return any(said) if rotten and not world.setting.shared else all(said)


def was_forgotten(world: World) -> bool:
    """Whether the store has lost all data."""
    return any(isinstance(one.what, Fault) and one.what.kind == "forget" for one in world.history.of("fault"))
