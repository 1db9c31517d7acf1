"""The steps that the notebook shows are those of the model, and its maps are what they claim."""

import pytest
import torch

from la.experiment.setup.measurements import Measurement
from la.learn.attention_loss import object_cells
from la.report.pages import walkthrough
from la.types import PromptKind


def steps_of(few_tests, shipped, kind):
    setting = Measurement("la", 0, 2, 2, 0, 1, kinds=(PromptKind(kind),))
    return walkthrough.episode(few_tests, setting, 0, shipped)


@pytest.mark.parametrize("kind", ["mask", "box", "point"])
def test_the_last_step_is_what_the_model_returns(few_tests, shipped, kind):
    shown, steps = steps_of(few_tests, shipped, kind)
    with torch.inference_mode():
        torch.testing.assert_close(steps.logits, shipped(steps.batch))
    assert len(shown.class_names) == 2 and len(steps.reads) == 2


def test_an_attention_map_is_a_distribution_and_lies_on_the_masked_object(few_tests, shipped):
    _, steps = steps_of(few_tests, shipped, "mask")
    cells = object_cells(steps.batch.prompts.masks > 0.5, 12)
    for read in steps.reads:
        maps = walkthrough.attention_maps(read, steps.tokens_valid)
        assert maps.shape == (len(cells), 12, 12)
        torch.testing.assert_close(maps.sum((1, 2)), torch.ones(len(cells)))
        assert (maps.flatten(1) * cells).sum(1).mean() > 0.5


def test_an_attention_map_leaves_out_tokens_that_pad(few_tests, shipped):
    _, steps = steps_of(few_tests, shipped, "point")
    read, valid = steps.reads[0], steps.tokens_valid
    assert not valid.all()
    with torch.inference_mode():
        scores = read.attention.read_scores(read.tokens, read.image, read.position)
    weights = scores.softmax(-1)
    for example, kept in enumerate(valid):
        tokens = [weights[example, :, t].mean(0) for t in range(len(kept)) if kept[t]]
        expected = (sum(tokens) / len(tokens)).view(12, 12)
        found = walkthrough.attention_maps(read, valid)[example]
        torch.testing.assert_close(found, expected)


def test_principal_colours_fill_the_unit_range_and_equal_cells_have_equal_colours():
    images = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(0))
    images[1, :, 0, 0] = images[0, :, 2, 3]
    colours = walkthrough.principal_colours(images)
    assert colours.shape == (2, 3, 4, 3)
    assert colours.min() == 0 and colours.max() == 1
    assert colours[1, 0, 0] == pytest.approx(colours[0, 2, 3])


def test_shapes_name_the_letters_and_refuse_a_wrong_number_of_them():
    frame = walkthrough.shapes({"query": (torch.zeros(2, 3), "B D")})
    assert frame.loc["query"].tolist() == ["B D", "2 x 3"]
    with pytest.raises(ValueError, match="query has 2 axes"):
        walkthrough.shapes({"query": (torch.zeros(2, 3), "B D h")})


def test_sizes_are_those_of_the_weights(shipped):
    sizes = walkthrough.sizes(shipped.config)[""]
    tokens = dict(shipped.named_parameters())
    assert sizes["D, width after the neck"] == shipped.config.embed_dim
    product = sizes["width of the dot product of Eq. 5"]
    assert any(tensor.shape[0] == product for tensor in tokens.values() if tensor.dim() == 4)
    assert sizes["input, patches"] == "96 x 96, 12 x 12"


@pytest.mark.parametrize("kind", ["mask", "point"])
def test_the_figures_have_a_panel_for_each_thing_they_show(few_tests, shipped, kind):
    shown, steps = steps_of(few_tests, shipped, kind)
    n_examples = len(steps.batch.prompts.example_row)
    assert len(walkthrough.draw_attention(shown, steps, shipped).axes) == 2 * n_examples
    assert len(walkthrough.draw_probabilities(shown, steps.logits[0]).axes) == 4
    (axis,) = walkthrough.draw_prototypes(steps, shown.class_names).axes
    assert len(axis.collections) == 2 * 3
