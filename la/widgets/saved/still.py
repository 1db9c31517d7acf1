"""A drawing as a figure, for pages without a kernel."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from la.data.sampling.prompts import Drawn
from la.predict.prompts.drawing import Annotation, Drawing, DrawnImage
from la.predict.prompts.photos import to_drawn
from la.predict.prompts.vector_prompts import from_json
from la.report.figures.pictures import EpisodePicture, SupportPicture, episode_strip
from la.widgets.saved.autosave import State

SIDE = 512  # of the photographs in the figure, in pixels
MAX_SUPPORTS = 4  # that are displayed; those with prompts first


def figure(state: State, labels: np.ndarray | None) -> Figure:
    """Supports with their prompts, and the query with its label map (h, w) of any resolution."""
    names = tuple(state.classes)
    sizes = [place.photo.size for place in state.photos]
    images = tuple(DrawnImage("", width, height) for height, width in sizes)
    drawing = Drawing(images, names, from_json(state.prompts))
    numbers = [number for number, place in enumerate(state.photos) if place.role == "support"]
    prompted = {prompt["img"] for prompt in state.prompts}
    numbers.sort(key=lambda number: number not in prompted)
    supports = []
    for number in sorted(numbers[:MAX_SUPPORTS]):
        size = sizes[number]
        small = state.photos[number].photo.reduced(SIDE)
        prompts = {
            names.index(name) + 1: _scaled(of_class, size, (small.height, small.width))
            for name, of_class in drawing.annotations_on(number).items()
        }
        supports.append(SupportPicture(small, prompts))
    query = Image.new("RGB", (9, 9), "white")
    if state.query >= 0:
        query = state.photos[state.query].photo.reduced(SIDE)
    if labels is not None:
        labels = np.asarray(Image.fromarray(labels).resize(query.size, Image.Resampling.NEAREST))
    episode = EpisodePicture(
        number=None,
        class_names=names,
        supports=tuple(supports),
        query=query,
        target=None,
        prediction=labels,
    )
    return episode_strip([episode])


def _scaled(
    annotations: Sequence[Annotation],
    size: tuple[int, int],
    small: tuple[int, int],
) -> Drawn:
    """Annotations on an image of `size` (H, W) as they are on the same image of size `small`."""
    drawn = to_drawn(annotations, size, "the drawing")
    scale = np.array([small[1] / size[1], small[0] / size[0]])  # of x and y
    mask = drawn.mask
    if mask is not None:
        resized = Image.fromarray(mask).resize(small[::-1], Image.Resampling.NEAREST)
        mask = np.asarray(resized)
    return Drawn(
        mask=mask,
        points=[points * scale for points in drawn.points],
        labels=drawn.labels,
        boxes=[box * np.tile(scale, 2) for box in drawn.boxes],
    )
