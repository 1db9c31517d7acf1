"""The focal loss is Eq. 6 written out, and the published code's loss to 1e-6."""

import itertools
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from la.learn.losses import class_weights, focal_loss, official_focal_loss
from la.types import IGNORE

HERE = Path(__file__).parents[1]
GOLDEN = Path(os.environ.get("LA_GOLDEN", HERE.parents[1] / "shared" / "golden"))
LOSSES = [path for f in (HERE / "golden", GOLDEN) if (path := f / "loss.npz").is_file()]


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_focal_loss_is_equation_6_written_out(gamma):
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 2, 2, generator=g)
    target = torch.tensor([[[0, 1], [2, IGNORE]], [[1, 1], [0, 2]]])
    weights = torch.rand(2, 3, generator=g)

    total, pixels = 0.0, 0
    for b, y, x in itertools.product(range(2), repeat=3):
        n = int(target[b, y, x])
        if n != IGNORE:
            ce = -logits[b, :, y, x].log_softmax(0)[n]
            total += float(weights[b, n] * (1 - torch.exp(-ce)) ** gamma * ce)
            pixels += 1

    assert focal_loss(logits, target, weights, gamma).item() == pytest.approx(total / pixels)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("path", LOSSES)
def test_the_published_loss_and_its_gradient_are_met_to_1e_6(path, weighted):
    golden = np.load(path)
    logits = torch.from_numpy(golden["logits"]).requires_grad_()
    target = torch.from_numpy(golden["gt"])
    weights = class_weights(target, logits.shape[1], "log") if weighted else None

    loss = official_focal_loss(logits, target, weights)
    loss.backward()

    assert loss.item() == pytest.approx(float(golden[f"loss_weighted_{weighted}"]), rel=1e-6)
    gradient = golden[f"grad_weighted_{weighted}"]
    difference = np.abs(logits.grad.numpy() - gradient).max()
    assert difference <= 1e-6 * np.abs(gradient).max()


def test_an_ignored_border_changes_our_loss_not_at_all_and_weakens_the_official_one():
    g = torch.Generator().manual_seed(1)
    logits, target = (
        torch.randn(1, 3, 4, 4, generator=g),
        torch.randint(0, 3, (1, 4, 4), generator=g),
    )
    padded = torch.full((1, 4, 8), IGNORE)
    padded[..., :4] = target
    wide = torch.cat([logits, torch.randn(1, 3, 4, 4, generator=g)], dim=3)

    torch.testing.assert_close(focal_loss(wide, padded), focal_loss(logits, target))
    torch.testing.assert_close(
        official_focal_loss(wide, padded), official_focal_loss(logits, target) / 2
    )


def test_a_padded_row_of_minus_infinity_adds_nothing_and_gets_no_gradient():
    g = torch.Generator().manual_seed(2)
    real, target = torch.randn(1, 2, 3, 3, generator=g), torch.randint(0, 2, (1, 3, 3), generator=g)
    logits = torch.cat([real, torch.full((1, 1, 3, 3), -torch.inf)], dim=1).requires_grad_()
    loss = focal_loss(logits, target, class_weights(target, 3, "power"))
    loss.backward()
    expected = focal_loss(real, target, class_weights(target, 2, "power"))
    torch.testing.assert_close(loss.detach(), expected)
    assert logits.grad.isfinite().all() and (logits.grad[:, 2] == 0).all()
    assert (logits.grad[:, :2] != 0).all()


def test_permuted_rows_give_the_same_loss():
    g = torch.Generator().manual_seed(3)
    logits, target = (
        torch.randn(2, 4, 3, 3, generator=g),
        torch.randint(0, 4, (2, 3, 3), generator=g),
    )
    order = torch.tensor([2, 0, 3, 1])
    for rule in ("log", "power"):
        permuted = order.argsort()[target]
        torch.testing.assert_close(
            focal_loss(logits, target, class_weights(target, 4, rule)),
            focal_loss(logits[:, order], permuted, class_weights(permuted, 4, rule)),
        )


def test_a_batch_that_is_all_ignored_costs_nothing():
    logits = torch.randn(1, 2, 3, 3, generator=torch.Generator().manual_seed(4)).requires_grad_()
    target = torch.full((1, 3, 3), IGNORE)
    for rule in ("log", "power"):
        loss = focal_loss(logits, target, class_weights(target, 2, rule))
        loss.backward()
        assert loss.item() == 0 and (logits.grad == 0).all()


def test_log_weights_count_ignored_pixels_and_power_weights_average_one():
    target = torch.tensor(
        [[[0, 0, 0, 0], [1, 1, IGNORE, IGNORE]]]
    )  # shares 4/8, 2/8; of six: 2/3, 1/3
    by_log, by_power = class_weights(target, 3, "log")[0], class_weights(target, 3, "power", 1.0)[0]
    expected = [1 / math.log(1.1 + 4 / 8), 1 / math.log(1.1 + 2 / 8), 1.0]
    assert by_log.tolist() == pytest.approx(expected)
    assert (by_power[1] / by_power[0]).item() == pytest.approx(2)
    assert ((4 * by_power[0] + 2 * by_power[1]) / 6).item() == pytest.approx(1)
    assert by_power[2] == 1


def test_what_does_not_fit_is_refused_by_name():
    with pytest.raises(ValueError, match=r"target has shape \(1, 2, 3\).*logits has W=2"):
        focal_loss(torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match="class_weights has shape"):
        focal_loss(
            torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, dtype=torch.int64), torch.ones(1, 3)
        )
    with pytest.raises(ValueError, match="known: log, power"):
        class_weights(torch.zeros(1, 2, 2, dtype=torch.int64), 2, "square")
