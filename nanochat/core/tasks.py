"""The tasks of a CORE bundle on disk: what they ask, and how often guessing is right.

A bundle is a directory with

    core.yaml              icl_tasks: [{label, dataset_uri, num_fewshot: [n], icl_task_type}]
    eval_meta_data.csv     columns `Eval Task` and `Random baseline`, in percent
    eval_data/...jsonl     where each `dataset_uri` lies, an item a line

where a task may have a `continuation_delimiter` other than a space, and an item is, by its task's type,
{"query", "choices", "gold"}, {"context_options", "continuation", "gold"} or {"context", "continuation"}.
"""

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nanochat.settings import require

CORE_TASKS = frozenset(
    {
        "agi_eval_lsat_ar", "arc_challenge", "arc_easy", "bigbench_cs_algorithms", "bigbench_dyck_languages",
        "bigbench_language_identification", "bigbench_operators", "bigbench_qa_wikidata",
        "bigbench_repeat_copy_logic", "boolq", "commonsense_qa", "copa", "coqa", "hellaswag",
        "hellaswag_zeroshot", "jeopardy", "lambada_openai", "openbook_qa", "piqa", "squad", "winograd",
        "winogrande",
    }
)  # fmt: skip
"""The 22 tasks whose mean is called CORE."""


@dataclass(frozen=True)
class MultipleChoice:
    """One text, several continuations."""

    query: str
    choices: tuple[str, ...]
    gold: int


@dataclass(frozen=True)
class Schema:
    """Several texts, one continuation."""

    contexts: tuple[str, ...]
    continuation: str
    gold: int


@dataclass(frozen=True)
class LanguageModeling:
    """One text, and what must follow word for word."""

    context: str
    continuation: str


Item = MultipleChoice | Schema | LanguageModeling


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task of the bundle, with its items."""

    label: str
    shots: int
    """Solved items before each question."""
    delimiter: str
    """Between a text and its continuation."""
    baseline: float
    """Share of right answers by guessing, in [0, 1)."""
    items: tuple[Item, ...]


def read_bundle(directory: Path) -> list[Task]:
    """Read all tasks of a bundle, in its order.

    Raises:
        ValueError: A file is missing or wrong; says which, and where in it.
    """
    raw = _read(directory / "core.yaml", yaml.safe_load)
    listed = raw.get("icl_tasks") if isinstance(raw, Mapping) else None
    require(
        isinstance(listed, list) and bool(listed), f"icl_tasks of {directory / 'core.yaml'}", listed, "a list"
    )
    baselines = _baselines(directory / "eval_meta_data.csv")
    tasks: dict[str, Task] = {}
    for entry in listed:  # pyright: ignore[reportOptionalIterable]
        task = _task(directory, entry, baselines)
        must = "once: it would count twice in the mean"
        require(task.label not in tasks, f"{task.label} in {directory / 'core.yaml'}", "listed again", must)
        tasks[task.label] = task
    return list(tasks.values())


def _task(directory: Path, entry: Any, baselines: Mapping[str, float]) -> Task:
    where = f"a task of {directory / 'core.yaml'}"
    keys = ("label", "dataset_uri", "num_fewshot", "icl_task_type")
    holds = isinstance(entry, Mapping) and all(key in entry for key in keys)
    require(holds, where, entry, f"a mapping with {', '.join(keys)}")
    where = f"task {entry['label']!r} of {directory / 'core.yaml'}"
    for key in ("label", "dataset_uri", "icl_task_type", "continuation_delimiter"):
        require(isinstance(entry.get(key, " "), str), f"{key} of {where}", entry.get(key), "text")
    label, kind = entry["label"], entry["icl_task_type"]
    require(kind in _KINDS, f"icl_task_type of {label}", kind, f"one of {', '.join(_KINDS)}")
    require(
        label in baselines,
        f"{label} of {directory / 'eval_meta_data.csv'}",
        "missing",
        "a row with its baseline",
    )
    told = entry["num_fewshot"]
    shots: Any = told[0] if isinstance(told, list) and told else told
    require(type(shots) is int and shots >= 0, f"num_fewshot of {label}", shots, "a whole number, at least 0")
    items = _items(directory / "eval_data" / entry["dataset_uri"], _KINDS[kind])
    require(len(items) > shots, f"the items of {label}", len(items), f"more than its {shots} shots")
    delimiter = entry.get("continuation_delimiter", " ")
    return Task(label=label, shots=shots, delimiter=delimiter, baseline=baselines[label], items=items)


def _baselines(path: Path) -> dict[str, float]:
    rows = _read(path, lambda text: list(csv.DictReader(io.StringIO(text, newline=""))))
    try:
        found = {row["Eval Task"]: float(row["Random baseline"]) / 100 for row in rows}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} lacks or garbles {error}; it must have Eval Task and Random baseline"
        ) from error
    for label, share in found.items():
        require(0 <= share < 1, f"the baseline of {label} in {path}", 100 * share, "in [0, 100)")
    return found


def _items(path: Path, build: Callable[[Mapping[str, Any]], Item]) -> tuple[Item, ...]:
    lines = _read(path, lambda text: text.split("\n"))  # a text may hold what `splitlines` splits at, too
    items: list[Item] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            items.append(build(json.loads(line)))
        except (KeyError, TypeError, ValueError, IndexError, RecursionError) as error:
            raise ValueError(
                f"{path}, line {number} lacks or garbles {error}: fetch the bundle again"
            ) from error
    return tuple(items)


def _multiple_choice(raw: Mapping[str, Any]) -> Item:
    return MultipleChoice(_text(raw["query"]), _texts(raw["choices"]), _gold(raw["gold"], raw["choices"]))


def _schema(raw: Mapping[str, Any]) -> Item:
    contexts = raw["context_options"]
    return Schema(_texts(contexts), _text(raw["continuation"]), _gold(raw["gold"], contexts))


def _language_modeling(raw: Mapping[str, Any]) -> Item:
    return LanguageModeling(_text(raw["context"]), _text(raw["continuation"]))


_KINDS = {
    "multiple_choice": _multiple_choice,
    "schema": _schema,
    "language_modeling": _language_modeling,
}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r}, which must be text")
    return value


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or len(values) < 2:
        raise TypeError(f"{values!r}, which must be two texts or more")
    return tuple(_text(value) for value in values)


def _gold(value: Any, options: Any) -> int:
    if type(value) is not int or not 0 <= value < len(options):
        raise IndexError(f"gold {value!r}, which must be the number of one of {len(options)}")
    return value


def _read(path: Path, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
        raise ValueError(f"{path} is unreadable ({reason}); it must be part of a CORE bundle") from error
