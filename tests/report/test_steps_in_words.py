"""The sentences of the page `model` say what the values of its steps are."""

import re
from dataclasses import replace

import pytest
import torch

from la.experiment.setup.measurements import Measurement
from la.report.pages import steps_in_words, walkthrough
from la.report.verdicts import probes


@pytest.fixture(scope="module")
def walked(few_tests, shipped):
    """An episode and its steps."""
    return walkthrough.episode(few_tests, Measurement("la", 0, 2, 2, 0, 1), 0, shipped)


def test_the_classes_of_an_episode_are_named_with_their_numbers(walked):
    shown, _ = walked
    first, second = shown.class_names
    text = steps_in_words.episode(shown)
    assert text.startswith("4 support images") and f"class 1 is {first}; class 2 is" in text
    assert second in text
    only_second = replace(shown, target=torch.full((4, 4), 2).numpy())
    assert steps_in_words.episode(only_second).endswith("The query shows class 2.")
    nothing = replace(shown, target=torch.zeros(4, 4).numpy())
    assert steps_in_words.episode(nothing).endswith("The query shows none of them.")


def test_attention_on_objects_is_that_of_the_probes(walked, shipped):
    _, steps = walked
    expected = probes.attention_on_objects(shipped, steps.batch)
    text = steps_in_words.attention(steps)
    for layer, share in enumerate(expected, 1):
        assert re.search(rf"\b{100 * share:.0f} % (of their attention )?in layer {layer}", text)


def test_features_in_three_directions_have_no_other_variance():
    directions = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    strengths = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(1))
    images = torch.einsum("nkhw,kd->ndhw", strengths, directions)
    assert "100 % of the variance of the 8 channels" in steps_in_words.features(images)


def test_cosines_are_of_examples_of_one_class_and_of_different_classes(walked):
    _, steps = walked
    embeddings = torch.tensor([[9.0, 9.0], [1.0, 0.0], [2.0, 0.0], [0.0, 3.0]])
    pairs = replace(steps.pairs, embeddings=embeddings, row=torch.tensor([0, 1, 1, 2]))
    assert steps_in_words.prototypes(replace(steps, pairs=pairs)) == (
        "Embeddings of one class have a mean cosine of 1.00, embeddings of different classes have "
        "a mean cosine of 0.00."
    )
    alone = replace(steps.pairs, embeddings=embeddings[1:2], row=torch.tensor([1]))
    assert "nothing to compare" in steps_in_words.prototypes(replace(steps, pairs=alone))


def test_logits_of_the_truth_have_an_iou_of_100_percent(walked, shipped):
    shown, steps = walked
    target = torch.from_numpy(shown.target).long()
    logits = torch.nn.functional.one_hot(target, 3).permute(2, 0, 1)[None].float()
    text = steps_in_words.probabilities(shown, replace(steps, logits=logits), shipped.config)
    for row in (1, 2):
        is_shown = bool((target == row).any())
        found = "has an IoU of 100 %" if is_shown else "is neither shown nor painted"
        assert f"class {row} {found}" in text
