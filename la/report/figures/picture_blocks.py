"""Axes for blocks of pictures with lines of text below each block."""

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH = 4.2  # inches, as wide as a phone shows a figure
COLUMNS = 3  # pictures in a row
SIDE = WIDTH / COLUMNS  # inches, of a picture
TITLE = 0.35  # inches
LINE = 0.17  # inches, of text


def blocks_of_axes(
    n_blocks: int,
    n_pictures: int,
    ratio: float,
    n_lines: int,
) -> tuple[Figure, list[list[Axes]]]:
    """Axes without ticks; the last ones of each block are for the lines of text below it.

    The text gets a separate row, so that it cannot overlap a picture or the next block's titles.

    Args:
        ratio: height of a picture divided by its width.
    """
    n_rows = -(-n_pictures // COLUMNS)
    n_columns = min(n_pictures, COLUMNS)
    heights = [SIDE * ratio + TITLE] * n_rows + [LINE * n_lines + 0.1]
    figure = plt.figure(
        figsize=(n_columns * SIDE, n_blocks * sum(heights)),
        layout="constrained",
    )
    plt.close(figure)  # otherwise a notebook would show it twice
    grid = figure.add_gridspec(
        n_blocks * len(heights),
        n_columns,
        height_ratios=heights * n_blocks,
    )
    blocks = []
    for top in range(0, n_blocks * len(heights), len(heights)):
        axes = []
        for place in range(n_pictures):
            cell = grid[top + place // n_columns, place % n_columns]
            axis = figure.add_subplot(cell, xticks=[], yticks=[], frame_on=False)
            axis.set_anchor("N")
            axes.append(axis)
        below = figure.add_subplot(grid[top + n_rows, :])
        below.axis("off")
        blocks.append([*axes, below])
    return figure, blocks
