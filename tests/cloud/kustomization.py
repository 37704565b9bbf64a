"""Builds the kustomizations of launch/kubernetes, of which it reads the keys that they use, and no others."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

NAME = "curtail-texas"
"""What the site's object is called there."""
OVERLAYS = ("statefulset", "job", "daemonset")
ROOT = Path(__file__).parent.parent.parent / "launch" / "kubernetes"
_KEYS = {"apiVersion", "kind", "resources", "configMapGenerator", "generatorOptions", "patches"}

Json = dict[str, Any]


def build(folder: Path) -> list[Json]:
    """Return the objects that `kubectl kustomize` would print."""
    found: Json = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert set(found) <= _KEYS, f"{folder} uses {set(found) - _KEYS}"
    made: list[Json] = []
    for name in found.get("resources", []):
        path = (folder / name).resolve()
        made += build(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text()))
    for generator in found.get("configMapGenerator", []):
        assert found["generatorOptions"] == {"disableNameSuffixHash": True}
        metadata = {"name": generator["name"], "namespace": generator["namespace"]}
        data = {file: (folder / file).read_text() for file in generator["files"]}
        made.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    for patch in found.get("patches", []):
        _patch(made, patch)
    return made


def _patch(made: list[Json], patch: Json) -> None:
    target = patch["target"]
    (chosen,) = [
        one for one in made if (one["kind"], one["metadata"]["name"]) == (target["kind"], target["name"])
    ]
    for step in yaml.safe_load(patch["patch"]):
        assert step["op"] == "add", "the only one that ours use"
        *parents, last = step["path"].strip("/").split("/")
        place: Any = chosen
        for key in parents:
            place = place[int(key) if isinstance(place, list) else key]
        assert last == "-", "the only place to which ours add"
        place.append(copy.deepcopy(step["value"]))


def of(objects: list[Json], *kinds: str) -> list[Json]:
    return [one for one in objects if one["kind"] in kinds]


def templates(objects: list[Json]) -> Iterator[tuple[Json, Json]]:
    """Each workload with its pods' template."""
    for one in objects:
        if one["kind"] in ("Deployment", "StatefulSet", "DaemonSet"):
            yield one, one["spec"]["template"]
        if one["kind"] == "CronJob":
            yield one, one["spec"]["jobTemplate"]["spec"]["template"]


def site_pods(objects: list[Json]) -> Json:
    """The template of the site's pods."""
    return next(pods for one, pods in templates(objects) if one["metadata"]["name"] == NAME)
