"""What all charts share: width, panels, legend, and how each method looks.

A chart is as wide as a phone shows it, so that its letters have their size there. Methods differ in
marker and line as well as in colour, so that they can be distinguished in grey.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO

import matplotlib.pyplot as plt
import PIL.Image
from IPython.display import Image
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from la.colours import OKABE_ITO
from la.experiment.methods import METHODS, RIVALS

WIDTH = 4.2  # inches
PIXELS = 125  # of a web page, for each inch of a picture; a phone shows it smaller
LABEL = 9  # points, of the names of methods
LONG = 20  # characters; legends of longer names have one column
ROWS = 6  # of a legend; the panels of a figure leave room for these
ROW = 0.2  # inches
COLOURS = [c for c in OKABE_ITO if c != "#F0E442"]  # yellow cannot be read on white
MARKERS = "osD^vPX*"
DASHES = ("-", "--", "-.", ":")


@dataclass(frozen=True)
class Style:
    """How a chart draws one method."""

    colour: str
    marker: str
    dashes: str


def show(figure: Figure, alt: str) -> Image:
    """The figure as a PNG of 256 colours and 200 dots per inch, with an alternative text.

    Args:
        alt: what the figure shows, for readers who cannot see it; kept in the output's metadata.
    """
    with BytesIO() as drawn:
        figure.savefig(drawn, format="png", dpi=200)
        width = round(PIXELS * figure.get_figwidth())
        return show_image(PIL.Image.open(drawn), alt, width)


def show_image(image: PIL.Image.Image, alt: str, width: int = round(PIXELS * WIDTH)) -> Image:
    """An image as a PNG of 256 colours, shown `width` pixels wide, with an alternative text."""
    with BytesIO() as small:
        image.convert("RGB").quantize(256).save(small, "png", optimize=True)
        return Image(small.getvalue(), width=width, alt=alt)


def stacked(
    n_panels: int,
    height: float,
    *,
    shares_x: bool = False,
) -> tuple[Figure, Sequence[Axes]]:
    """A figure of panels, each of this height in inches, one below the other."""
    figure, axes = plt.subplots(
        n_panels,
        1,
        figsize=(WIDTH, n_panels * height),
        sharex=shares_x,
        squeeze=False,
        layout="constrained",
    )
    plt.close(figure)  # otherwise a notebook would show it twice
    for axis in axes[:, 0]:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(lw=0.3)
    return figure, list(axes[:, 0])


def with_legend(figure: Figure) -> Figure:
    """One legend for all panels, below them; a long one makes the figure higher."""
    handles: dict[str, Artist] = {}
    for axis in figure.axes:
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    n_columns = 1 if max(map(len, handles)) > LONG else 2
    n_more = math.ceil(len(handles) / n_columns) - ROWS
    if n_more > 0:
        figure.set_figheight(figure.get_figheight() + n_more * ROW)
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside lower center",
        frameon=False,
        ncols=n_columns,
        fontsize=LABEL,
    )
    return figure


def short(method: str) -> str:
    """The name of a method beside its mark; tables have the whole name."""
    return method.removesuffix(", in this harness")


def styles(methods: Iterable[str]) -> dict[str, Style]:
    """The style of each method; those of the tables look the same in every chart."""
    of_tables = [method.label for method in (METHODS | RIVALS).values()]
    names = list(methods)
    order = list(dict.fromkeys([*of_tables, *names]))
    chosen = {}
    for name in names:
        # LA, the first, is blue; names that are in no table start from it again.
        place = order.index(name) - (len(of_tables) if name not in of_tables else 0)
        chosen[name] = Style(
            COLOURS[(place + 3) % len(COLOURS)],
            MARKERS[place % len(MARKERS)],
            DASHES[place % len(DASHES)],
        )
    return chosen
