"""Fragments: which parameters travel together (streaming DiLoCo, arXiv 2501.18512, section 2.2).

The parameters of a model are divided into F parts. One of them is exchanged every H/F inner steps, in turn,
so that each is every H steps and no exchange is larger than a part.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch

from curtail_dist.errors import ConfigError

Fragments = tuple[tuple[str, ...], ...]
"""Names of parameters by fragment, each in the order in which they are exchanged. Every name is in one."""


def whole(names: Iterable[str]) -> Fragments:
    """Return the one fragment of all parameters."""
    return (tuple(sorted(names)),)


def of_modules(modules: Sequence[torch.nn.Module], parameters: Mapping[str, torch.nn.Parameter]) -> Fragments:
    """Return a fragment for each of `modules`.

    Raises ConfigError if a parameter is in none of them, or in two, or none is in one of them; a parameter
    that is tied is in one place only.
    """
    place: dict[int, int] = {}
    for index, module in enumerate(modules):
        for name, parameter in module.named_parameters():
            if place.setdefault(id(parameter), index) != index:
                raise ConfigError(
                    f"fragments {place[id(parameter)]} and {index} both have the parameter {name!r}; "
                    "each must be in one: put modules that share it into the same (torch.nn.ModuleList)"
                )
    missing = [name for name, parameter in parameters.items() if id(parameter) not in place]
    if missing:
        raise ConfigError(
            f"{len(missing)} parameters are in no fragment, {missing[0]!r} for one; fragments must hold all "
            "parameters that require a gradient"
        )
    found = _divided({name: place[id(parameter)] for name, parameter in parameters.items()}, len(modules))
    empty = [index for index, names in enumerate(found) if not names]
    if empty:
        raise ConfigError(
            f"fragment {empty[0]}, {type(modules[empty[0]]).__name__}, has no parameter that requires a "
            "gradient; each must have one: leave it out"
        )
    return found


def strided(
    model: torch.nn.Module,
    count: int,
    parameters: Mapping[str, torch.nn.Parameter],
    *,
    key: str = "outer.fragments",
) -> Fragments:
    """Return `count` fragments of nearly equal size: block i of the model is in fragment i modulo `count`.

    Blocks are the entries of the model's longest `torch.nn.ModuleList`. What is outside of them (embeddings,
    head) goes, largest module first, to the fragment that is smallest by then: two large ones come apart.

    Where there are fewer modules than fragments these are divided, too. Raises ConfigError if there are fewer
    parameters than fragments, which names `key` as what asked for so many.
    """
    if count == 1:
        return whole(parameters)
    for unit in (lambda name: name.rpartition(".")[0], lambda name: name):
        place = _placed(model, count, parameters, unit)
        if len(set(place.values())) == count:
            return _divided(place, count)
    raise ConfigError(
        f"{key} is {count}; this model has only {len(set(place.values()))} blocks and other "
        "parameters to divide: choose no more fragments than that"
    )


def _placed(
    model: torch.nn.Module,
    count: int,
    parameters: Mapping[str, torch.nn.Parameter],
    unit: Callable[[str], str],
) -> dict[str, int]:
    """Return the fragment of each parameter; those outside of blocks stay together with their `unit`."""
    inside = _blocks(model)
    place: dict[str, int] = {}
    sizes = [0] * count
    others: dict[str, list[str]] = {}
    for name, parameter in parameters.items():
        block = inside.get(id(parameter))
        if block is None:
            others.setdefault(unit(name), []).append(name)
        else:
            place[name] = block % count
            sizes[block % count] += parameter.numel()
    weight = {owner: sum(parameters[name].numel() for name in names) for owner, names in others.items()}
    for owner in sorted(others, key=lambda one: (-weight[one], one)):
        smallest = sizes.index(min(sizes))
        place.update(dict.fromkeys(others[owner], smallest))
        sizes[smallest] += weight[owner]
    return place


def _blocks(model: torch.nn.Module) -> dict[int, int]:
    """Return the block of each parameter in the longest list of modules, by the parameter's identity."""
    lists = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    longest = max(lists, key=len, default=())
    found: dict[int, int] = {}
    for index, block in enumerate(longest):
        for parameter in block.parameters():
            found.setdefault(id(parameter), index)
    return found


def _divided(place: Mapping[str, int], count: int) -> Fragments:
    parts: list[list[str]] = [[] for _ in range(count)]
    for name in sorted(place):
        parts[place[name]].append(name)
    return tuple(tuple(part) for part in parts)
