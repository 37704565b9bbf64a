"""The public names, and what importing them costs."""

import subprocess
import sys

import pytest

import curtail_dist as cd

PUBLIC = [
    "Average",
    "ConfigError",
    "CoordinationError",
    "CoordinationStore",
    "CurtailError",
    "DataError",
    "DiLoCo",
    "Exchange",
    "ExchangeError",
    "Expelled",
    "IdentityMismatch",
    "InProcess",
    "LeaseExpired",
    "MembershipError",
    "Nesterov",
    "OuterRules",
    "PeerLost",
    "Policy",
    "ProvisionError",
    "Reading",
    "RunConfig",
    "Signal",
    "SignalUnavailable",
    "Site",
    "SnapshotCorrupt",
    "StateDiverged",
    "StateError",
    "StoreUnavailable",
    "TraceError",
    "UserError",
    "arguments",
]
"""Frozen: a name that is added belongs here too, one that is dropped breaks somebody."""
HEAVY = ("torch", "wandb", "vessim", "pandas", "matplotlib", "numpy")


def loaded_by(code: str) -> set[str]:
    """Which of the heavy packages a fresh interpreter has loaded after running `code`."""
    script = f"import sys\n{code}\nsys.stdout.write(' '.join(n for n in {HEAVY} if n in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_public_names_are_these():
    assert sorted(cd.__all__) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there(name):
    assert getattr(cd, name).__name__ == name


def test_what_is_no_public_name_is_not_there():
    with pytest.raises(AttributeError, match="has no attribute 'Client'"):
        cd.Client  # noqa: B018 - the access is what is tested


def test_importing_the_library_loads_nothing_heavy():
    assert loaded_by("import curtail_dist") == set()


def test_reading_a_run_file_and_the_errors_load_nothing_heavy():
    code = "import curtail_dist as cd\ncd.RunConfig, cd.Signal, cd.Policy, cd.CoordinationStore, cd.PeerLost"
    assert loaded_by(code) == set()


def test_the_names_that_need_torch_load_it_when_they_are_used():
    assert "torch" in loaded_by("import curtail_dist as cd\ncd.Nesterov")


def test_every_error_is_one_of_the_library_and_those_of_the_user_are_told_apart():
    errors = [getattr(cd, name) for name in PUBLIC if isinstance(getattr(cd, name), type)]
    errors = [kind for kind in errors if issubclass(kind, Exception)]
    assert all(issubclass(kind, cd.CurtailError) for kind in errors)
    users = {kind.__name__ for kind in errors if issubclass(kind, cd.UserError)}
    assert users == {"UserError", "ConfigError", "TraceError", "DataError", "IdentityMismatch"}
