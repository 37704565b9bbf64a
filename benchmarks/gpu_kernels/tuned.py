"""What tuning chose for a device: read, put into the tables of this process, written into their source."""

import json
from argparse import ArgumentTypeError
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from curtail_kernels import mlp_products
from curtail_kernels.attention import configs

Chosen = dict[str, Any]
"""`capability`; `attention`: kernel, D, path and config of each row; `places_queries`: of each D whether;
`products`: product, config and whether it is to be `in_product`."""


def put(chosen: Chosen) -> None:
    """Let the kernels of this process take what was chosen; rows that were not measured stay as they are."""
    capability = tuple(chosen["capability"])
    for row in chosen["attention"]:
        key = row["kernel"], capability, row["D"], row["path"]
        configs.TABLE[key] = configs.Config(**row["config"])
    for D, places in chosen["places_queries"].items():
        configs.PLACES_QUERIES[capability, int(D)] = places
    for row in chosen["products"]:
        key = row["product"], capability
        mlp_products.TABLE[key] = mlp_products.Config(**row["config"])
        mlp_products.IN_PRODUCT[key] = row["in_product"]


def read(path: str | Path) -> Chosen:
    """What a run of `tune_kernels.py` left there.

    Raises:
        ArgumentTypeError: It is no such file.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))["chosen"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        said = f"{path} is no result of tune_kernels.py ({error!r}); run that first"
        raise ArgumentTypeError(said) from None


def write(chosen: Chosen, folder: Path) -> list[Path]:
    """Put the rows into the source of the tables, in place of those of the same key or after all others.

    Args:
        chosen: See `Chosen`.
        folder: Of the package `curtail_kernels`.

    Returns:
        The files that were written.
    """
    files: dict[Path, str] = {}
    for table, rows in as_rows(chosen).items():
        file = folder / table.file
        files[file] = with_rows(files.get(file) or file.read_text(encoding="utf-8"), table.name, rows)
    for file, source in files.items():
        file.write_text(source, encoding="utf-8")
    return list(files)


class Table(NamedTuple):
    """A dictionary in the source."""

    file: str
    """Below the package."""
    name: str


def as_rows(chosen: Chosen) -> dict[Table, list[str]]:
    """The lines of each table."""
    capability = tuple(chosen["capability"])
    attention, products = chosen["attention"], chosen["products"]

    def config(row: dict[str, Any]) -> str:
        return f"Config({', '.join(map(str, row['config'].values()))})"

    return {
        Table("attention/configs.py", "TABLE"): [
            f'    ("{row["kernel"]}", {capability}, {row["D"]}, "{row["path"]}"): {config(row)},'
            for row in attention
        ],
        Table("attention/configs.py", "PLACES_QUERIES"): [
            f"    ({capability}, {D}): {places}," for D, places in chosen["places_queries"].items()
        ],
        Table("mlp_products.py", "TABLE"): [
            f'    ("{row["product"]}", {capability}): {config(row)},' for row in products
        ],
        Table("mlp_products.py", "IN_PRODUCT"): [
            f'    ("{row["product"]}", {capability}): {row["in_product"]},' for row in products
        ],
    }


def with_rows(source: str, table: str, rows: Sequence[str]) -> str:
    """The source with these lines in the dictionary of that name; each begins with its key and ': '."""
    first = source.index(" = {", source.index(f"\n{table}: ")) + len(" = {")
    last = source.index("}" if source[first] == "}" else "\n}", first)
    old = source[first:last].strip("\n").splitlines()
    by_key = {row.split("): ")[0]: row for row in (*old, *rows)}
    inside = "".join(f"{row}\n" for row in by_key.values())
    return f"{source[:first]}\n{inside}{source[last:].lstrip(chr(10))}" if inside else source
