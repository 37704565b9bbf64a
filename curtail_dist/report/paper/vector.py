"""Pictures as SVG and PDF that look the same everywhere: no font is needed that they do not bring along."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

_SETTINGS: "dict[RcKeyType, Any]" = {
    "pdf.fonttype": 42,  # TrueType, embedded: publishers refuse Type 3
    "svg.fonttype": "path",
    "svg.hashsalt": "curtail",  # so that the same run gives the same file
}


def write_vectors(run_dir: Path, figures: Mapping[str, Figure], *, title: str) -> list[Path]:
    """Write each figure as `run_dir`/NAME.svg and all of them as the pages of report.pdf; return the files.

    Text is outlines in SVG, and in PDF in an embedded TrueType font. No moment of writing stands in them.
    """
    with mpl.rc_context(_SETTINGS):
        files = [_svg(run_dir / f"{name}.svg", figure) for name, figure in figures.items()]
        return [*files, _pdf(run_dir / "report.pdf", list(figures.values()), title)]


def _svg(file: Path, figure: Figure) -> Path:
    figure.savefig(file, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return file


def _pdf(file: Path, figures: Sequence[Figure], title: str) -> Path:
    about = {"Title": title, "CreationDate": None, "Creator": None, "Producer": None}
    with PdfPages(file, metadata=about) as pages:
        for figure in figures:
            pages.savefig(figure)
    return file
