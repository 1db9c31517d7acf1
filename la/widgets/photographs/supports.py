"""The support set of a drawing, recomputed only for the photographs that changed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from la.predict.prompts.drawing import Annotation, Drawing
from la.predict.prompts.vector_prompts import VectorPrompt
from la.widgets.photographs.photos import LivePredictor, Photo


@dataclass
class _Part:
    """The support set of one photograph, for these prompts and rows."""

    photo: str  # its id
    prompts: tuple[VectorPrompt, ...]
    palette: tuple[str, ...]
    class_names: tuple[str, ...]  # those with a prompt on this photograph
    rows: tuple[str, ...] = ()  # the classes of the whole support set
    support: Any = None


class SupportCache:
    """Support sets of single photographs: a click recomputes only one of them, and their mean."""

    def __init__(self) -> None:
        self._parts: dict[int, _Part] = {}  # by the number of the photograph
        self._predictor: LivePredictor | None = None

    def support(
        self,
        predictor: LivePredictor,
        drawing: Drawing,
        photos: Sequence[Photo],
        encode: Callable[[Photo], Any],
    ) -> Any:
        """What `predictor.support` gives for all photographs with prompts; None without any.

        Args:
            predictor: another one than before empties the cache.
            drawing: classes and prompts.
            photos: the images of the drawing.
            encode: gives a photograph as the predictor encoded it.
        """
        if predictor is not self._predictor:
            self._parts, self._predictor = {}, predictor
        annotations = self._changed(drawing, photos)
        prompted = [number for number, part in self._parts.items() if part.class_names]
        names = [name for number in sorted(prompted) for name in self._parts[number].class_names]
        rows = tuple(dict.fromkeys(names))
        if not rows:
            return None
        if predictor.examples_interact:
            examples = [
                (encode(photos[number]), drawing.annotations_on(number))
                for number in sorted(prompted)
            ]
            return predictor.support(examples, rows)
        for number in prompted:
            part = self._parts[number]
            if part.rows != rows:
                of_class = annotations.get(number) or drawing.annotations_on(number)
                part.support = predictor.support([(encode(photos[number]), of_class)], rows)
                part.rows = rows
        return predictor.join([self._parts[number].support for number in sorted(prompted)])

    def _changed(
        self, drawing: Drawing, photos: Sequence[Photo]
    ) -> dict[int, dict[str, list[Annotation]]]:
        """Replace the parts whose prompts changed; their annotations by number."""
        prompts_of: dict[int, list[VectorPrompt]] = {}
        for prompt in drawing.prompts:
            prompts_of.setdefault(prompt.img, []).append(prompt)
        for number in self._parts.keys() - prompts_of.keys():
            del self._parts[number]
        annotations = {}
        for number, prompts in prompts_of.items():
            part = self._parts.get(number)
            now = (photos[number].id, tuple(prompts), drawing.classes)
            if part is None or (part.photo, part.prompts, part.palette) != now:
                annotations[number] = drawing.annotations_on(number)
                self._parts[number] = _Part(*now, tuple(annotations[number]))
        return annotations
