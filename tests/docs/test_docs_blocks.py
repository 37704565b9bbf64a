"""What the documentation shows is so: Python runs, run files load, excerpts are those of the files."""

import difflib
from dataclasses import replace

import pytest
import yaml
from pages import PAGES, ROOT, blocks, indented, named

from curtail_dist.config import PolicyConfig, RunConfig
from curtail_dist.energy.scene import Assumptions
from curtail_dist.energy.simulation import simulate

EXAMPLE = ROOT / "examples" / "own_loop"
SITE = {"signal": {"kind": "constant", "value": 40}, "power": {"train_w": 2, "idle_w": 1}}
RUN = {"run": {"name": "a"}, "data": {"manifest": "manifest.json"}, "sites": {"a": SITE}}
NODE = "00000000-0000-4000-8000-000000000000"
SECTIONS = set(RunConfig.__dataclass_fields__)
OF_A_SITE = {"signal", "power", "provisioner", "footprint", "average", "price", "meter", "address"}
PYTHON = [(named(page), text) for page in PAGES for text in blocks(page, "python")]


def whole(tree: dict) -> dict:
    """A run file of which some is given, with the rest filled in; of a site, if it is a part of one."""
    if set(tree) <= OF_A_SITE:
        tree = {"sites": {"a": tree}}
    unknown = set(tree) - SECTIONS
    assert not unknown, f"these are no sections of a run file: {unknown}"
    sites = {name: {**SITE, **site} for name, site in tree.get("sites", RUN["sites"]).items()}
    return {**RUN, **tree, "sites": sites, "run": {**RUN["run"], **tree.get("run", {})}}


def run_files(page) -> list[dict]:
    """What of a page is YAML of a run file, fenced or set in."""
    found = [yaml.safe_load(text.replace("NODE-UUID", NODE)) for text in blocks(page, "yaml")]
    for text in indented(page):
        try:
            tree = yaml.safe_load(text)
        except yaml.YAMLError:
            continue
        if isinstance(tree, dict) and tree and set(tree) <= SECTIONS | OF_A_SITE and all(tree.values()):
            found.append(tree)
    return found


def test_every_run_file_that_is_shown_loads(tmp_path):
    shown = {named(page): run_files(page) for page in PAGES}
    for page, trees in shown.items():
        for tree in trees:
            try:
                RunConfig.from_mapping(whole(tree), base=tmp_path)
            except Exception as error:
                raise AssertionError(f"{page}: {tree}") from error
    assert sum(map(len, shown.values())) > 10
    assert shown["docs/own-sites.md"] and shown["docs/energy.md"]


def test_a_key_that_is_not_there_is_noticed(tmp_path):
    with pytest.raises(Exception, match=r"unknown key policy\.treshold"):
        RunConfig.from_mapping(whole({"policy": {"treshold": 1}}), base=tmp_path)


@pytest.mark.parametrize(("page", "text"), PYTHON, ids=[f"{page}-{n}" for n, (page, _) in enumerate(PYTHON)])
def test_python_runs(page, text):
    exec(compile(text, page, "exec"), {"__name__": "__main__"})


def test_the_policy_and_the_signal_that_are_shown_are_played(tmp_path, monkeypatch):
    page = ROOT / "docs" / "own-grid.md"
    (module,) = blocks(page, "python")
    (shown,) = (text for text in blocks(page, "yaml") if "my_rules" in text)
    (tmp_path / "my_rules.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    start = {"name": "a", "start": "2026-03-21T00:00:00Z", "deadline_h": 12}
    config = RunConfig.from_mapping(whole({**yaml.safe_load(shown), "run": start}), base=tmp_path)
    result = simulate(config, Assumptions(work_s=6 * 3600.0))
    assert result.windows["bay"] == [(0.0, 10800.0), (21600.0, 32400.0)]
    assert result.emissions_kg == 0.0
    assert simulate(replace(config, policy=PolicyConfig(kind="work-price"))).played.finished_at is not None


@pytest.mark.parametrize("name", ["README.md", "docs/own-script.md"])
def test_the_difference_that_is_shown_is_that_of_the_files(name):
    plain, elastic = ((EXAMPLE / file).read_text().splitlines() for file in ("plain.py", "elastic.py"))
    changed = [line for line in difflib.ndiff(plain, elastic) if line[0] in "+-"]
    (shown,) = blocks(ROOT / name, "diff")
    assert sorted(shown.splitlines()) == sorted((line[0] + line[2:]).rstrip() for line in changed)


def test_the_run_file_that_is_shown_is_that_of_the_example():
    (shown,) = blocks(ROOT / "docs" / "own-script.md", "yaml")
    assert shown in (EXAMPLE / "run.yaml").read_text()
    assert (EXAMPLE / "data.json").read_text().strip() in (ROOT / "docs" / "own-script.md").read_text()
