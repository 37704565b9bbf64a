"""What tuning chose for a device, as JSON, and put into the tables of this process."""

import json
from pathlib import Path
from typing import Any

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


def read(path: Path) -> Chosen:
    """What a run of `tune_kernels.py` left there.

    Raises:
        ValueError: It is no such file.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))["chosen"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no result of tune_kernels.py ({error!r}); run that first") from None


def as_source(chosen: Chosen) -> str:
    """The same as lines of the four tables, to be put into the source."""
    capability = tuple(chosen["capability"])

    def config(row: dict[str, Any]) -> str:
        return f"Config({', '.join(map(str, row['config'].values()))}),"

    lines = [
        "attention/configs.py, TABLE:",
        *(
            f'    ("{row["kernel"]}", {capability}, {row["D"]}, "{row["path"]}"): {config(row)}'
            for row in chosen["attention"]
        ),
        "attention/configs.py, PLACES_QUERIES:",
        *(f"    ({capability}, {D}): {places}," for D, places in chosen["places_queries"].items()),
        "mlp_products.py, TABLE:",
        *(f'    ("{row["product"]}", {capability}): {config(row)}' for row in chosen["products"]),
        "mlp_products.py, IN_PRODUCT:",
        *(f'    ("{row["product"]}", {capability}): {row["in_product"]},' for row in chosen["products"]),
    ]
    return "\n".join(lines)
