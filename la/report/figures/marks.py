"""Draws masks, boxes, points and predictions over an image, each class with its number."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from PIL import Image

from la.colours import colour, overlay
from la.data.sampling.prompts import Drawn

POINT_MARKS = {1: ("o", "white"), -1: ("X", "black")}  # by sign: marker and edge


def draw_labels(
    axis: Axes,
    image: Image.Image,
    labels: np.ndarray,
) -> None:
    """Draw an image, darker where it is not labelled, with each row of C coloured and numbered."""
    axis.imshow(overlay(image, labels, opacity=0.5))
    axis.set(xlim=(-0.5, labels.shape[1] - 0.5), ylim=(labels.shape[0] - 0.5, -0.5))
    y, x = (np.arange(-1, side + 1) for side in labels.shape)
    for row in np.unique(labels[labels > 0]):
        outline = np.pad(labels == row, 1).astype(float)
        axis.contour(x, y, outline, [0.5], colors=[colour(row)], linewidths=1.2)
        pixels = np.argwhere(labels == row)
        centre = pixels.mean(axis=0)
        nearest = np.linalg.norm(pixels - centre, axis=1).argmin()  # not in a hole
        _write_number(axis, pixels[nearest][1], pixels[nearest][0], row)


def draw_prompts(
    axis: Axes,
    image: Image.Image,
    prompts: dict[int, Drawn],
) -> None:
    """Draw an image with its masks, boxes and points; a negative point is an X."""
    labels = np.zeros((image.height, image.width), dtype=int)
    for row, drawn in prompts.items():
        if drawn.mask is not None:
            labels[drawn.mask] = row
    draw_labels(axis, image, labels)
    for row, drawn in prompts.items():
        tint = colour(row)
        # Matplotlib puts the centre of pixel (0, 0) at (0, 0), not at (0.5, 0.5).
        for x0, y0, x1, y1 in [box - 0.5 for box in drawn.boxes]:
            width, height = x1 - x0, y1 - y0
            frame = plt.Rectangle((x0, y0), width, height, fill=False, ec=tint, lw=2)
            axis.add_patch(frame)
            _write_number(axis, x0, y0, row)
        for points, signs in zip(drawn.points, drawn.labels, strict=True):
            for sign in np.unique(signs):
                x, y = points[signs == sign].T - 0.5
                marker, edge = POINT_MARKS[sign]
                axis.scatter(
                    x,
                    y,
                    s=26,
                    color=[tint],
                    linewidths=0.8,
                    marker=marker,
                    edgecolors=edge,
                )
            x, y = points[0]
            _write_number(axis, x, y - 0.08 * image.height, row)


def marks_of_each_kind(drawn: Sequence[Drawn]) -> dict[str, int]:
    """How many masks, boxes and points the examples carry, the points of all instances added."""
    return {
        "mask": sum(one.mask is not None for one in drawn),
        "box": sum(len(one.boxes) for one in drawn),
        "point": sum(len(points) for one in drawn for points in one.points),
    }


def _write_number(axis: Axes, x: float, y: float, row: int) -> None:
    """Write the number of a class in black on white, so that it can be read on any image."""
    left, right = sorted(axis.get_xlim())
    margin = 0.03 * (right - left)
    x = np.clip(x, left + margin, right - margin)
    number = axis.text(
        x,
        y,
        str(row),
        ha="center",
        va="center",
        fontsize=8,
        clip_on=True,
    )
    number.set_path_effects([withStroke(linewidth=2, foreground="white")])
