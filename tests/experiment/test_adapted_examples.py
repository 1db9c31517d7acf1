"""Adapted and unchanged decoders get equal examples and queries; only the decoder differs."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import la
from la.experiment import adapted_examples
from la.experiment.adapted_examples import compare
from la.experiment.chosen_examples import compare as choose
from la.experiment.chosen_examples import pools, random_supports
from la.experiment.setup.workbench import Workbench
from la.model.label_anything import LabelAnything

NUMBERS = {"k_shots": 2, "n_candidates": 3, "n_queries": 3, "n_draws": 2}


@pytest.fixture(scope="module")
def bench(few, tmp_path_factory) -> Workbench:
    return Workbench(la.profile("smoke"), few(4, 160), home=tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def model(bench):
    config = replace(bench.config.model, start="usual")
    return LabelAnything.from_config(config, torch.Generator().manual_seed(0)).eval()


def test_without_a_step_both_ways_are_equal_to_the_random_examples_of_the_other_page(
    bench, model, monkeypatch
):
    def unchanged(model, images, prompts):
        return dict(model.mask_decoder.named_parameters())

    monkeypatch.setattr(adapted_examples, "adapted_weights", unchanged)
    frame = compare(bench, model, 0, **NUMBERS)
    assert len(frame) == len(pools(bench, 0, n_candidates=3, n_queries=3))
    np.testing.assert_array_equal(frame["adapted"], frame["unchanged"])
    other = choose(bench, model, 0, **NUMBERS)
    np.testing.assert_allclose(frame["unchanged"], other["random"])


def test_the_steps_are_taken_on_the_supports_and_on_no_query(bench, model, monkeypatch):
    seen = []

    def record(model, images, prompts):
        seen.append((len(images), prompts.example_row.tolist(), len(prompts.masks)))
        return {}

    monkeypatch.setattr(adapted_examples, "adapted_weights", record)
    compare(bench, model, 0, **NUMBERS)
    n_pools = len(pools(bench, 0, n_candidates=3, n_queries=3))
    assert seen == [(2, [1, 1], 2)] * (2 * n_pools)


def test_draws_are_candidates_without_repetition(bench):
    for pool in pools(bench, 0, n_candidates=3, n_queries=3):
        draws = random_supports(pool, 2, 5)
        assert draws == random_supports(pool, 2, 5) and len(draws) == 5
        for images in draws:
            assert len(set(images)) == 2 and set(images) <= set(pool.candidates)
