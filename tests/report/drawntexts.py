"""The texts of a picture, and whether they can be read: none covers another, none leaves the picture."""

from itertools import combinations

from matplotlib.figure import Figure
from matplotlib.text import Text


def texts(figure: Figure) -> list[Text]:
    """All texts that are drawn: ticks beyond an axis are objects, too, and are not."""
    figure.canvas.draw()
    beyond = {
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in axis.get_major_ticks()
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        for label in (tick.label1, tick.label2)
    }
    found = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    return [text for text in found if text not in beyond]


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts of which one covers more than a hair of the other, leading lines aside."""
    boxes = [(text.get_text(), Text.get_window_extent(text).padded(-1.0)) for text in texts(figure)]
    return [(one, other) for (one, a), (other, b) in combinations(boxes, 2) if a.overlaps(b)]


def outside(figure: Figure) -> list[str]:
    box = figure.bbox
    boxes = [(text.get_text(), Text.get_window_extent(text)) for text in texts(figure)]
    return [text for text, b in boxes if b.x0 < box.x0 or b.x1 > box.x1 or b.y0 < box.y0 or b.y1 > box.y1]
