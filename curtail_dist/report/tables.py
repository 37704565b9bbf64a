"""HTML tables of the report's page, and how a figure is written in them."""

from collections.abc import Sequence


def number(value: float | None, form: str, *, unknown: str = "unknown") -> str:
    """Return a figure, or the word for one that cannot be known."""
    return unknown if value is None else format(value, form)


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, kind: str = "") -> str:
    """Return a table that may be wider than the page; cells are HTML already, `kind` is its class."""
    head = "".join(f"<th>{title}</th>" for title in titles) if any(titles) else ""
    body = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    named = f" class='{kind}'" if kind else ""
    return (
        f"<div class='wide'><table{named}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
