"""The learning rate, the loss and the gradient of one optimiser step."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from training_run import (
    CONFIG,
    TinyModel,
    noise,
    noise_batch,
)

from la.config import ModelConfig
from la.learn.losses import class_weights, focal_loss
from la.learn.steps import batch_loss, learning_rate
from la.learn.training import fit
from la.types import IGNORE


def test_the_rate_warms_up_and_falls_to_zero_along_a_cosine():
    config = replace(CONFIG, steps=104, warmup_steps=4, lr=2.0)
    assert [learning_rate(s, config) for s in range(5)] == [0.5, 1, 1.5, 2, 2]
    assert learning_rate(54, config) == pytest.approx(1.0)
    assert learning_rate(103, config) == pytest.approx(1 + math.cos(math.pi * 0.99))
    constant = replace(config, schedule="constant")
    assert [learning_rate(s, constant) for s in (4, 54, 103)] == [2, 2, 2]
    assert learning_rate(0, replace(config, warmup_steps=0)) == 2


def test_the_loss_is_equation_6_on_the_grid_of_the_target():
    batch, model = noise_batch(0), TinyModel()
    total = 0.0
    logits = model(batch)
    weights = class_weights(batch.target, 3, CONFIG.class_weight)
    for b, rows in enumerate((3, 2)):  # each episode with its own rows alone
        scores = nn.functional.interpolate(logits[b : b + 1, :rows], size=(8, 8), mode="bilinear")
        total += focal_loss(scores, batch.target[b : b + 1], weights[b : b + 1, :rows]) / 2
    assert batch_loss(model, batch, CONFIG).item() == pytest.approx(total.item(), rel=1e-5)


def test_the_official_loss_is_taken_on_original_pixels_and_divided_by_all_of_them():
    """An 8 px input frame; queries of 4 x 8 and 8 x 6 original pixels, padded to 8 x 8."""
    target = torch.full((2, 8, 8), IGNORE)
    target[0, :4] = torch.tensor([0, 0, 1, 1, 2, 2, 2, 0])
    target[1, :, :6] = torch.tensor([0, 1, 1, 0, 0, 1])[:, None].repeat(1, 8).T
    target[0, 0, 0] = IGNORE
    sizes = torch.tensor([[4, 8], [8, 6]])
    batch = replace(noise_batch(0), target=target, query_size=sizes)
    model = TinyModel()
    model.config = ModelConfig(image_size=8, resize="pad")

    logits = model(batch).detach()
    counts = torch.bincount(target[target != IGNORE], minlength=3) / target.numel()
    weights = 1 / torch.log(1.1 + counts)
    total = 0.0
    for b, n_rows in enumerate((3, 2)):
        frame = nn.functional.interpolate(logits[b : b + 1, :n_rows], size=(8, 8), mode="bilinear")
        height, width = sizes[b].tolist()
        for y in range(height):
            for x in range(width):
                n = int(target[b, y, x])
                if n != IGNORE:  # pad: the frame's scale is 1, so its upper left is the image
                    ce = -frame[0, :, y, x].log_softmax(0)[n]
                    total += float(weights[n] * (1 - torch.exp(-ce)) ** CONFIG.gamma * ce)
    config = replace(CONFIG, target_side=None, class_weight="log")
    assert batch_loss(model, batch, config).item() == pytest.approx(total / (2 * 8 * 8), rel=1e-5)


def test_out_of_memory_says_which_shape_and_what_to_change(tmp_path):
    class Full(TinyModel):
        def forward(self, batch):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    with pytest.raises(
        torch.OutOfMemoryError,
        match=r"\(B, N, K\) = \(2, 2, 1\) with 3 support images and 3 examples; use .*bfloat16.*"
        "smaller B in the profile's EpisodeConfig.shapes",
    ):
        fit(Full(), noise, CONFIG, tmp_path)
