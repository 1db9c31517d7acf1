"""Example episodes as states of an editor."""

from la.predict.example import ExampleEpisode
from la.predict.prompts.drawing import vector_prompts
from la.predict.prompts.photos import to_drawn
from la.predict.prompts.vector_prompts import VectorPrompt, to_json
from la.widgets.photographs.photos import placed
from la.widgets.saved.autosave import State


def example_state(example: ExampleEpisode) -> State:
    """The supports of an episode with their prompts as vectors, and its query."""
    supports = [image for image, _ in example.examples]
    photos = placed(supports, [example.query], "example")
    prompts: list[VectorPrompt] = []
    for img, (_, prompts_of_class) in enumerate(example.examples):
        size = photos[img].photo.size
        for cls, (name, of_class) in enumerate(prompts_of_class.items(), 1):
            drawn = to_drawn(of_class, size, name)
            prompts += vector_prompts(drawn, img, cls)
    return State(
        photos=photos,
        classes=list(example.class_names),
        prompts=to_json(prompts),
    )
