"""DiLoCo: a model trained locally for many inner steps, then moved by outer steps for all sites."""

from collections.abc import Mapping, Sequence

import torch

from curtail_dist.errors import ConfigError
from curtail_dist.outer.anchor import Anchor, OuterFactory
from curtail_dist.outer.codec import CODECS
from curtail_dist.outer.driver import Driver
from curtail_dist.outer.exchange import Alone, Exchange
from curtail_dist.outer.fragments import Fragments, of_modules, strided
from curtail_dist.outer.mean import exchanged_mean
from curtail_dist.outer.nesterov import Nesterov
from curtail_dist.outer.own_rounds import OwnRounds, check_every
from curtail_dist.outer.payloads import Payloads, Which
from curtail_dist.outer.rules import OuterRules, Share, effective
from curtail_dist.outer.said import loss_of, tokens_of
from curtail_dist.outer.settings import OuterSettings
from curtail_dist.outer.trained import check_inner, check_same, trained
from curtail_dist.state.version import Version


class DiLoCo:
    """Wraps a model and its inner optimizer; owns the anchor (arXiv 2311.08105; fragments: 2501.18512).

    With a Site, rounds, exchange and outer optimizer come from the run file. Without one (`site=None`) it
    exchanges each of F fragments over `exchange` every H inner steps, one every H/F steps in turn: for
    research and tests. A fragment's pseudo-gradient, anchor - local, is taken tau steps before its outer step
    lands; tau more inner steps run while it travels. Then, with theta' the anchor after the outer step,

        local <- theta' + alpha (local - theta')

    Parameters that do not require gradients, and buffers, stay local; the former must have the same values at
    all sites, the latter may differ. Tied parameters are exchanged once.
    """

    def __init__(  # noqa: PLR0913 - the published signature of streaming DiLoCo
        self,
        site: Driver | None,
        model: torch.nn.Module,
        inner: torch.optim.Optimizer,
        *,
        outer: OuterFactory | None = None,
        sync_every: int | None = None,
        fragments: Sequence[torch.nn.Module] | int | None = None,
        sync_delay: int = 0,
        mix_alpha: float = 0.0,
        exchange: Exchange | None = None,
        codec: str | None = None,
        rules: OuterRules | None = None,
        fused_codec: bool = False,
    ) -> None:
        """Join the run through `site`, or start alone at the model's present parameters.

        All but the first three and the last come from the run file where there is a site; giving one is an
        error then.

        Args:
            site: The site, or None.
            model: Trained in place; with a site its parameters are replaced by the run's.
            inner: Any torch optimizer over the model's parameters; its state is the site's own.
            outer: Makes the outer optimizer; default Nesterov(0.7, 0.9).
            sync_every: H, inner steps between two exchanges of a parameter; a multiple of the fragments'
                number.
            fragments: Modules, each with the parameters that travel together; or how many parts the model is
                to be divided into (see `outer.fragments.strided`). Default: all parameters together.
            sync_delay: tau, less than H/F.
            mix_alpha: alpha, in [0, 1]: 0 takes the anchor, 1 keeps the local parameters.
            exchange: The group to exchange with; default alone.
            codec: `fp32` (default), `bf16`, `int8` or `int4`.
            rules: Weights of the sites, hyper-parameters by their number, momentum when they change.
            fused_codec: Whether a model on a GPU has its int8 or int4 payloads made by the fused kernels of
                `curtail_kernels`: the same bytes in fewer passes.

        Raises:
            ConfigError: an argument that this combination does not take, or an inner optimizer that holds no
                parameter of the model.
        """
        given = {
            "outer": outer,
            "sync_every": sync_every,
            "fragments": fragments,
            "sync_delay": sync_delay or None,
            "mix_alpha": mix_alpha or None,
            "exchange": exchange,
            "codec": codec,
            "rules": rules,
        }
        _check(site, given, mix_alpha)
        self._model = model
        self._inner = inner
        self._site = site
        self._warmup = (0, 0)
        self._followed: int | None = None
        settings = (
            site.outer_settings
            if site
            else OuterSettings(
                factory=outer or Nesterov,
                rules=rules or OuterRules(),
                codec=codec or "fp32",
                fragments=fragments,
                mix_alpha=mix_alpha,
            )
        )
        self._alpha = settings.mix_alpha
        self._rules = settings.rules
        self._local = trained(model)
        check_inner(inner, self._local)
        self._fragments = self._divide(settings.fragments)
        self._payloads = Payloads(settings.codec, self._fragments, self._local, fused=fused_codec)
        self._factory: OuterFactory = settings.factory
        start = {name: _to_anchor(value) for name, value in self._local.items()}
        self._anchor: Anchor | None = Anchor(0, start, self._factory)
        if site is not None:
            self._rounds = None
            site.attach(self)
        else:
            assert sync_every is not None, "checked above"
            self._rounds = OwnRounds(
                self, exchange or Alone(), every=sync_every, delay=sync_delay, codec=settings.codec
            )

    def _divide(self, fragments: Sequence[torch.nn.Module] | int | None) -> Fragments:
        if fragments is None or isinstance(fragments, int):
            key = "fragments" if self._site is None else "outer.fragments"
            return strided(self._model, 1 if fragments is None else fragments, self._local, key=key)
        return of_modules(fragments, self._local)

    def step(self, *, tokens: int | torch.Tensor, loss: float | torch.Tensor | None = None) -> None:
        """Say that one inner step over `tokens` tokens is done. Exchanges what is due.

        Args:
            tokens: What weighs the step beside those of other sites: tokens, rows, or what else the loss is a
                mean over. 0 is for an empty batch at one rank of several; a round of nothing else counts for
                nothing.
            loss: Nats per token, for the run's record, where there is a site: a number, or a tensor's one.

        Raises:
            ConfigError: `tokens` is no whole number of at least 0, or no step of two rounds in a row had any;
                `loss` is no single number; with a site: no batch was taken since the last step.
            PeerLost: without a site: a member did not take part.
        """
        count, value = tokens_of(tokens), loss_of(loss) if loss is not None else None
        self._warmup = (self._warmup[0] + 1, self._warmup[1])
        if self._site is not None:
            if value is not None:
                self._site.note_loss(value)
            self._site.step_done(count)
        elif self._rounds is not None:
            self._rounds.step_done(count)

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

    def forget_inner(self, *, warmup_steps: int | None = None) -> None:
        """Clear the inner optimizer's state, as where it begins, and let `warmup` rise anew.

        Over `warmup_steps` inner steps, or as many as the last time. Whoever throws away numbers that are not
        finite calls it: the state has them, too, and would spoil all that is trained from then on.
        """
        self._inner.state.clear()
        self.begin_warmup(self._warmup[1] if warmup_steps is None else warmup_steps)

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
    def frozen(self) -> dict[str, torch.Tensor]:
        """The model's parameters that do not require gradients, by name; not to be changed."""
        named = self._model.named_parameters()
        return {name: value.detach() for name, value in named if not value.requires_grad}

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
    def outer_step(self) -> str:
        """What an outer step is taken by, as text: the optimizer, its hyper-parameters, the rules."""
        return f"{self._present.optimizer} {self._rules}"

    @property
    def fragments(self) -> Fragments:
        """Names of parameters by fragment."""
        return self._fragments

    def encode(self, which: Which) -> torch.Tensor:
        """Return the pseudo-gradient anchor - local of some fragments as a payload (uint8, CPU).

        `settle` is called when it is known what became of it.

        Raises ConfigError where the model trains other parameters by now than it was given with.
        """
        check_same(self._local, self._model)
        return self._payloads.encode(which, self._present.parameters, self._local)

    def is_finite(self, which: Which, payload: torch.Tensor) -> bool:
        """Whether a payload has only finite numbers."""
        return self._payloads.is_finite(which, payload)

    def settle(self, counted: Which, moved: Which = ()) -> None:
        """Say which fragments of the last payload are in a commit; the others never will be.

        What a lossy codec left out of those travels with the next, and so does what it left out of the means
        in the last `exchanged`, of the fragments that are said to have `moved` by them.
        """
        self._payloads.settle(counted, moved)

    def exchanged(
        self, exchange: Exchange, which: Which, payload: torch.Tensor, shares: Sequence[Sequence[Share]]
    ) -> dict[str, torch.Tensor]:
        """Exchange payloads with the other members; return the mean pseudo-gradient (fp32) by parameter.

        Args:
            exchange: The group.
            which: The fragments that the payloads hold.
            payload: This member's own.
            shares: For each rank, what it did since each of these fragments was last exchanged. One that did
                nothing sends nothing.

        Raises:
            PeerLost: a member did not take part.
        """
        weights = [self._rules.weights(each) for each in shares]
        return exchanged_mean(exchange, self._payloads, which, payload, weights)

    def stepped(
        self,
        mean: Mapping[str, torch.Tensor],
        shares: Sequence[Sequence[Share]],
        *,
        before: Sequence[Share] = (),
    ) -> Anchor:
        """Return the next anchor from the mean pseudo-gradient; changes nothing here.

        Args:
            mean: As `exchanged` gave it; used up.
            shares: For each rank, as there.
            before: What each contributor of the version before did, if others contribute now; else nothing.
        """
        weights = [self._rules.weights(each) for each in shares]
        sites = effective([sum(each) for each in weights])
        others = effective(self._rules.weights(before))
        momentum = self._rules.kept_momentum(others, sites) if others else 1.0
        return self._present.stepped(mean, hyper=self._rules.hyper(sites), momentum=momentum)

    @torch.no_grad()
    def swap(self, anchor: Anchor, which: Which | None = None) -> None:
        """Make `anchor` the present version.

        The local parameters of the fragments that moved take it, but for alpha of what they had; with `which`
        None all parameters are set to it.
        """
        self._anchor = anchor
        parameters = anchor.parameters
        if which is None:
            for name, value in parameters.items():
                self._local[name].copy_(value)
            return
        for name in (name for fragment in which for name in self._fragments[fragment]):
            local, value = self._local[name], parameters[name]
            if self._alpha == 0:
                local.copy_(value)
            elif self._alpha < 1:
                value = value.to(local.device)
                local.copy_(torch.lerp(value, local.float(), self._alpha))

    def reset(self) -> None:
        """Set the local parameters back to the present version."""
        self.swap(self._present)

    def local_state(self) -> dict[str, torch.Tensor]:
        """Return the local parameters by name; not to be changed."""
        return {name: value.detach() for name, value in self._local.items()}

    @torch.no_grad()
    def restore(self, local: Mapping[str, torch.Tensor]) -> None:
        """Set the local parameters as `local_state` gave them. Raises KeyError, RuntimeError for others."""
        for name, value in self._local.items():
            value.copy_(local[name])

    def adopt(self, version: Version, which: Which | None = None) -> None:
        """Take the run's state over, with the local parameters as in `swap`.

        Raises ConfigError if it does not fit the model.
        """
        anchor = Anchor.from_version(version, self._factory)
        mine = {name: tuple(value.shape) for name, value in self._local.items()}
        theirs = {name: tuple(value.shape) for name, value in anchor.parameters.items()}
        if mine != theirs:
            odd = sorted(set(mine.items()) ^ set(theirs.items()))[0]
            raise ConfigError(
                f"the run's state does not fit the model, first at {odd[0]}; use the run's model"
            )
        self.swap(anchor, which)

    def regroup(self, exchange: Exchange) -> None:
        """Exchange with another group from now on; without a site, right after a step that completed a round.

        All members do so after the same step. One that is new has adopted the state of another before. Raises
        ConfigError while an exchange is under way, and with a site, which regroups by itself.
        """
        if self._rounds is None:
            raise ConfigError("regroup() was called with a site, which regroups by itself; leave it out")
        self._rounds.regroup(exchange)

    def close(self) -> None:
        """Land what is under way, leave the model at the anchor and the exchange closed; idempotent.

        With a site the model is there once the loop over its rows has ended, at each rank.
        """
        if self._rounds is not None:
            self._rounds.close()
        if self._anchor is not None:
            self.swap(self._anchor)


def _to_anchor(value: torch.Tensor) -> torch.Tensor:
    return value.detach().to(device="cpu", dtype=torch.float32, copy=True).contiguous()


def _check(site: Driver | None, given: dict[str, object], mix_alpha: object) -> None:
    names = [name for name, value in given.items() if value is not None]
    if site is not None and names:
        raise ConfigError(f"{', '.join(names)} given with a site; the run file sets these: leave them out")
    codec, outer, fragments = given["codec"], given["outer"], given["fragments"]
    if codec is not None and codec not in CODECS:
        raise ConfigError(f"codec is {codec!r}; it must be one of {', '.join(CODECS)}")
    if not isinstance(mix_alpha, int | float) or not 0 <= mix_alpha <= 1:
        raise ConfigError(f"mix_alpha is {mix_alpha!r}; it must be a number in [0, 1]")
    if outer is not None and not callable(outer):
        kind = type(outer).__name__
        raise ConfigError(
            f"outer is an instance of {kind}; it must be what makes one, since each outer step is taken on a "
            f"copy: give lambda parameters: {kind}(parameters, lr=...)"
        )
    if fragments is not None and not _divides(fragments):
        raise ConfigError(
            f"fragments is {fragments!r}; it must be a whole number, at least 1, or a list of modules: "
            "leave it out for one of all parameters"
        )
    if site is None:
        check_every(given["sync_every"])


def _divides(fragments: object) -> bool:
    """Whether this can be a number of fragments, or modules that are one each."""
    if isinstance(fragments, int):
        return fragments >= 1
    several = isinstance(fragments, Sequence | torch.nn.ModuleList | torch.nn.Sequential)
    return several and all(isinstance(one, torch.nn.Module) for one in fragments)
