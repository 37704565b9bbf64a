"""DiLoCo: a model trained locally for many inner steps, then moved by one outer step for all sites."""

from collections.abc import Sequence
from typing import Protocol

import torch

from curtail_dist.errors import ConfigError
from curtail_dist.outer.anchor import Anchor, OuterFactory
from curtail_dist.outer.codec import CODECS, Feedback, average, count, decode, flatten, unflatten
from curtail_dist.outer.exchange import Alone, Exchange, gather_messages
from curtail_dist.outer.nesterov import Nesterov
from curtail_dist.state.version import Version


class Driver(Protocol):
    """What decides when a round is due: a Site."""

    @property
    def outer_factory(self) -> OuterFactory:
        """The run's outer optimizer."""
        ...

    @property
    def codec(self) -> str:
        """Name of the run's codec."""
        ...

    def attach(self, outer: "DiLoCo") -> None:
        """Join the run with this optimizer's model; returns when it has adopted the run's state."""
        ...

    def step_done(self, tokens: int) -> None:
        """Count an inner step; completes the round when it is due."""
        ...


class DiLoCo:
    """Wraps a model and its inner optimizer; owns the anchor.

    With a Site, rounds, exchange and outer optimizer come from the run file. Without one (`site=None`) it
    syncs
    over `exchange` every `sync_every` inner steps: for research and tests.

    Parameters that do not require gradients, and buffers, stay local. Tied parameters are exchanged once.
    """

    def __init__(  # noqa: PLR0913 - the published signature of streaming DiLoCo
        self,
        site: Driver | None,
        model: torch.nn.Module,
        inner: torch.optim.Optimizer,
        *,
        outer: OuterFactory | None = None,
        sync_every: int | None = None,
        fragments: Sequence[torch.nn.Module] | None = None,
        sync_delay: int = 0,
        mix_alpha: float = 0.0,
        exchange: Exchange | None = None,
        codec: str | None = None,
    ) -> None:
        """Join the run through `site`, or start alone at the model's present parameters.

        Args:
            site: The site, or None.
            model: Trained in place; with a site its parameters are replaced by the run's.
            inner: Any torch optimizer over the model's parameters; its state is the site's own.
            outer: Makes the outer optimizer; default Nesterov(0.7, 0.9). Without a site only.
            sync_every: H, inner steps a round. Without a site only.
            fragments: Not in this version: all parameters are exchanged together.
            sync_delay: tau; only 0 in this version.
            mix_alpha: alpha; only 0 in this version.
            exchange: The group to exchange with; default alone. Without a site only.
            codec: `fp32` (default), `bf16`, `int8` or `int4`. Without a site only.

        Raises:
            ConfigError: an argument that this combination does not take.
        """
        _check(site, outer=outer, sync_every=sync_every, exchange=exchange, codec=codec)
        if fragments is not None or sync_delay or mix_alpha:
            raise ConfigError(
                "fragments, sync_delay and mix_alpha are given; this version takes their defaults only"
            )
        self._model = model
        self._inner = inner
        self._site = site
        self._exchange = exchange or Alone()
        self._every = sync_every or 0
        self._steps = 0
        self._tokens = 0
        self._warmup = (0, 0)
        self._followed: int | None = None
        named = model.named_parameters()
        self._local = {name: value for name, value in named if value.requires_grad}
        if not self._local:
            raise ConfigError(
                "the model has no parameter that requires a gradient; it must have at least one"
            )
        self._factory: OuterFactory = site.outer_factory if site else (outer or Nesterov)
        self._codec = CODECS[site.codec if site else (codec or "fp32")]
        self._feedback = Feedback(self._codec)
        start = {name: _to_anchor(value) for name, value in self._local.items()}
        self._anchor: Anchor | None = Anchor(0, start, self._factory)
        if site is not None:
            site.attach(self)

    def step(self, *, tokens: int) -> None:
        """Say that one inner step over `tokens` tokens is done. Syncs when the round is due."""
        self._warmup = (self._warmup[0] + 1, self._warmup[1])
        if self._site is not None:
            self._site.step_done(tokens)
            return
        self._steps += 1
        self._tokens += tokens
        if self._steps >= self._every:
            self._sync()

    def anchor(self) -> dict[str, torch.Tensor]:
        """Return the global parameters {name: tensor} (fp32, CPU); not to be changed.

        Raises ConfigError at a site's further ranks: its rank 0 holds them.
        """
        return self._present.parameters

    @property
    def inner(self) -> torch.optim.Optimizer:
        """The inner optimizer; its state is the site's own."""
        return self._inner

    @property
    def warmup(self) -> float:
        """Factor in (0, 1] for the inner learning rate of the next step.

        It rises linearly over `train.warmup_steps` steps after the inner optimizer began with a fresh state
        in a run that had gone on before; else it is 1. The script multiplies its learning rate by it.
        """
        done, whole = self._warmup
        return 1.0 if done >= whole else (done + 1) / (whole + 1)

    def begin_warmup(self, steps: int) -> None:
        """Let `warmup` rise over this many steps from now on. Called by the Site."""
        self._warmup = (0, steps)

    def follow(self, version: int) -> None:
        """Say which version the local parameters are about to be given. Called at a site's further ranks.

        Such a rank holds no anchor: its site's rank 0 does.
        """
        self._followed, self._anchor = version, None

    @property
    def local(self) -> list[torch.Tensor]:
        """The model's own parameters, as they are trained, in exchange order."""
        return [self._local[name] for name in sorted(self._local)]

    @property
    def version(self) -> int:
        """Number of outer steps in the global parameters."""
        return self._present.number if self._followed is None else self._followed

    @property
    def _present(self) -> Anchor:
        if self._anchor is None:
            raise ConfigError("this rank follows rank 0 of its site, which holds the anchor: ask it there")
        return self._anchor

    @property
    def state(self) -> Version:
        """S(n) as it stands; shares memory with the anchor, which is never changed in place."""
        return self._present.version

    @property
    def shapes(self) -> list[torch.Tensor]:
        """The parameters in exchange order, for their shapes."""
        return list(self._present.parameters.values())

    def encode(self) -> torch.Tensor:
        """Return the pseudo-gradient anchor - local as a payload (uint8, CPU).

        `settle` is called when it is known what became of it.
        """
        anchor = self._present.parameters
        return self._feedback.encode(
            flatten([value - _to_anchor(self._local[name]) for name, value in anchor.items()])
        )

    def is_finite(self, payload: torch.Tensor) -> bool:
        """Whether a payload has only finite numbers."""
        return bool(torch.isfinite(decode(self._codec, payload, count(self.shapes))).all())

    def settle(self, *, counted: bool) -> None:
        """Say whether the last payload is in a commit, or never will be.

        What a lossy codec left out of one that is travels with the next.
        """
        if counted:
            self._feedback.counted()
        else:
            self._feedback.discarded()

    def stepped(self, payloads: Sequence[torch.Tensor | None], weights: Sequence[float]) -> Anchor:
        """Return the next anchor from the members' payloads; changes nothing here."""
        shapes = self.shapes
        return self._present.stepped(
            unflatten(average(self._codec, payloads, weights, count(shapes)), shapes)
        )

    def swap(self, anchor: Anchor) -> None:
        """Make `anchor` the present version and set the local parameters to it."""
        self._anchor = anchor
        with torch.no_grad():
            for name, value in anchor.parameters.items():
                self._local[name].copy_(value)

    def reset(self) -> None:
        """Set the local parameters back to the present version."""
        self.swap(self._present)

    def adopt(self, version: Version) -> None:
        """Take the run's state over. Raises ConfigError if it does not fit the model."""
        anchor = Anchor.from_version(version, self._factory)
        mine = {name: tuple(value.shape) for name, value in self._local.items()}
        theirs = {name: tuple(value.shape) for name, value in anchor.parameters.items()}
        if mine != theirs:
            odd = sorted(set(mine.items()) ^ set(theirs.items()))[0]
            raise ConfigError(
                f"the run's state does not fit the model, first at {odd[0]}; use the run's model"
            )
        self.swap(anchor)

    def close(self) -> None:
        """Leave the model at the anchor and the exchange closed; idempotent."""
        if self._anchor is not None:
            self.swap(self._anchor)
        self._exchange.close()

    def _sync(self) -> None:
        """Complete a round without a site: weights, pseudo-gradients, outer step, swap."""
        payload = self.encode()
        weight = self._tokens if self.is_finite(payload) else 0
        weights = [float(message) for message in gather_messages(self._exchange, str(weight).encode())]
        sizes = [payload.numel() if each else 0 for each in weights]
        sent = payload if weight else payload[:0]
        gathered = self._exchange.gather(sent, sizes)
        if any(weights):
            payloads = [part if each else None for part, each in zip(gathered, weights, strict=True)]
            self.swap(self.stepped(payloads, weights))
        self.settle(counted=bool(weight))
        self._steps = self._tokens = 0


def _to_anchor(value: torch.Tensor) -> torch.Tensor:
    return value.detach().to(device="cpu", dtype=torch.float32, copy=True).contiguous()


def _check(site: Driver | None, *, sync_every: int | None, codec: str | None, **others: object) -> None:
    options = {"sync_every": sync_every, "codec": codec, **others}
    given = [name for name, value in options.items() if value is not None]
    if site is not None and given:
        raise ConfigError(f"{', '.join(given)} given with a site; the run file sets these: leave them out")
    if site is None and (sync_every is None or sync_every < 1):
        raise ConfigError(f"sync_every is {sync_every}; without a site it must be at least 1")
    if codec is not None and codec not in CODECS:
        raise ConfigError(f"codec is {codec!r}; it must be one of {', '.join(CODECS)}")
