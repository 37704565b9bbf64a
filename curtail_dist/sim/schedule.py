"""Draws a schedule from a seed: how large, how fast, and what goes wrong when."""

import random
from dataclasses import replace

from curtail_dist.membership.part import Rules
from curtail_dist.sim.setting import Fault, Setting
from curtail_dist.sim.state import Corpus

_NAMES = ("ada", "bea", "cyd", "dan", "eve")
_POINTS = (
    ("Transact", 10),
    ("GatherCards", 3),
    ("GatherPayloads", 7),
    ("GatherVotes", 10),
    ("StepCopy", 3),
    ("MakeDurable", 6),
    ("Swap", 6),
    ("Announce", 4),
    ("SnapshotSoon", 2),
    ("Form", 5),
    ("Read", 4),
    ("Pull", 3),
    ("Load", 3),
    ("Put", 3),
    ("PutLeased", 2),
    ("Await", 3),
    ("Train", 2),
    ("Enter", 1),
)
"""Effects at which faults strike, and how often each."""


_AT_EFFECTS = (
    "kill",
    "kill_all",
    "hang",
    "hang_life",
    "supersede",
    "outage",
    "cut",
    "cut_store",
    "mute",
    "rot",
)


def draw(seed: int) -> Setting:
    """Return the schedule of a seed: the same for the same seed, everywhere."""
    dice = random.Random(seed * 2 + 1)
    sites = _NAMES[: dice.choices((1, 2, 3, 4, 5), (1, 5, 6, 3, 1))[0]]
    rules = _streaming(_rules(dice), random.Random(seed * 2))
    step_s = {site: dice.choice((0.2, 0.3, 0.5, 0.9)) for site in sites}
    commits = dice.randint(4, 14)
    longest, step_tokens = dice.choice(((1, 2), (4, 4), (9, 5), (12, 3)))
    mean = (longest + 1) / 2
    tokens_round = step_tokens * rules.period * len(sites)
    corpus = Corpus(rows=max(3, int(commits * tokens_round / mean)), longest=longest, salt=seed)
    busy_s = commits * (rules.period * max(step_s.values()) + 1.0)
    calm_at = max(15.0, busy_s * dice.uniform(0.5, 1.3))
    shared = dice.random() < 0.88
    alone_s = corpus.rows * mean / step_tokens * max(step_s.values())
    return Setting(
        seed=seed,
        rules=replace(rules, total_rows=corpus.rows),
        corpus=corpus,
        step_s=step_s,
        step_tokens=step_tokens,
        starts={
            site: dice.choice((0.0, 0.0, dice.uniform(0, 3), dice.uniform(0, calm_at))) for site in sites
        },
        url={site: "all" if shared else f"at-{site}" for site in sites},
        keep=dice.choice((2, 2, 3)),
        write_s=dice.choice((0.1, 0.4, 2.0)),
        bulk_s=dice.choice((0.05, 0.3, 1.0)),
        lag_s=dice.choice((0.01, 0.02, 0.1, 0.4)),
        loss=dice.choice((0.0, 0.0, 0.0, 0.01, 0.05)),
        slow=dice.choice((0.0, 0.0, 0.0, 0.01, 0.05)),
        odd=dice.choice((0.0, 0.0, 0.0, 0.05)),
        faults=_faults(dice, sites, rules, calm_at),
        calm_at=calm_at,
        deadline=calm_at + 3 * alone_s + 150 + 4 * (rules.patience_s + rules.ttl_s),
    )


def _rules(dice: random.Random) -> Rules:
    return Rules(
        total_rows=0,
        identity={"model": "a"},
        round_steps=dice.choice((2, 4, 6)),
        ttl_s=dice.choice((3.0, 5.0, 8.0)),
        grace_s=dice.choice((1.5, 3.0)),
        patience_s=dice.choice((10.0, 20.0)),
        outage_s=dice.choice((12.0, 25.0)),
        durable_before_commit=dice.random() < 0.5,
        unreachable=dice.choice(("refuse", "refuse", "wait", "rewind")),
        park_s=dice.choice((0.0, 0.0, 6.0, 30.0)),
    )


def _streaming(rules: Rules, dice: random.Random) -> Rules:
    """Divide the model, and let exchanges take time, in most schedules."""
    fragments = dice.choice((1, 1, 2, 2, 3, 4))
    period = rules.round_steps
    delay = dice.choice((0, 0, 1, period - 1))
    return replace(rules, fragments=fragments, delay=delay, round_steps=period * fragments)


def _faults(dice: random.Random, sites: tuple[str, ...], rules: Rules, calm_at: float) -> tuple[Fault, ...]:
    intensity = dice.choice((0, 1, 1, 2, 2, 4, 8))
    kinds, shares = _menu(dice)
    faults: list[Fault] = []
    for _ in range(dice.randint(intensity, 2 * intensity)):
        kind = dice.choices(kinds, shares)[0]
        faults.append(_fault(dice, kind, sites, rules, calm_at))
    return tuple(sorted(faults, key=lambda fault: fault.at))


def _menu(dice: random.Random) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Most schedules mix everything; some have one kind only, so that a kind's effects are seen alone."""
    menu = {
        "kill": 10,
        "kill_all": 2,
        "hang": 6,
        "hang_life": 2,
        "supersede": 1,
        "term": 2,
        "drain": 4,
        "drain_all": 1,
        "cut": 6,
        "cut_store": 2,
        "mute": 2,
        "outage": 2,
        "disk": 2,
        "rot": 1,
    }
    if dice.random() < 0.35:
        kind = dice.choice(tuple(menu))
        return (kind,), (1,)
    return tuple(menu), tuple(menu.values())


def _fault(dice: random.Random, kind: str, sites: tuple[str, ...], rules: Rules, calm_at: float) -> Fault:
    site = dice.choice(sites)
    other = dice.choice([one for one in sites if one != site] or [site])
    if kind == "cut" and other == site:
        kind = "kill"
    lasts = {
        "kill": dice.uniform(0.2, 10),
        "kill_all": dice.uniform(0.2, 8),
        "hang": dice.choice((0.3, 0.7, 1.5, 3.0)) * rules.ttl_s,
        "hang_life": dice.choice((0.5, 1.5, 3.0)) * rules.ttl_s,
        "supersede": dice.uniform(1, 3 * rules.ttl_s),
        "cut": dice.choice((0.05, dice.uniform(0.5, 15))),
        "outage": dice.choice((dice.uniform(0.2, 8), dice.uniform(0.2, 1.8) * rules.outage_s)),
        "cut_store": dice.choice((dice.uniform(0.2, 8), dice.uniform(0.2, 1.8) * rules.outage_s)),
    }.get(kind, dice.uniform(0.5, 15))
    at = dice.uniform(0.0, calm_at)
    fault = Fault(kind=kind, at=at, site=site, other=other, lasts=lasts)
    if kind not in _AT_EFFECTS or dice.random() > 0.65:
        return fault
    effect = dice.choices([name for name, _ in _POINTS], [share for _, share in _POINTS])[0]
    phase = dice.choice(("before", "during", "after"))
    return replace(fault, effect=effect, phase=phase, nth=dice.choice((1, 1, 1, 2, 3)))
