"""MFNet-style fusion: rows share one decoder, and the triplet loss written with loops."""

import pytest
import torch

from la.comparators.mfnet import MARGIN, MFNet, triplet_loss
from la.comparators.tokens import Tokens
from tests.comparators.episodes import cosine
from tests.comparators.rival_episodes import CONFIG, shaken


@torch.inference_mode()
def test_rows_decoded_one_by_one_are_those_decoded_together() -> None:
    model = shaken(MFNet)
    fused = torch.randn(2, 3, CONFIG.embed_dim, 4, 4, generator=torch.Generator().manual_seed(0))
    together = model.decode(fused)
    alone = [model.decode(fused[:, row : row + 1]) for row in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-4)


def test_the_triplet_loss_is_its_definition_written_out() -> None:
    g = torch.Generator().manual_seed(0)
    rows = [0, 0, 1, 1, 2, 2, 0, 1]
    support = torch.randn(1, 1, 8, 5, generator=g)
    weights = torch.nn.functional.one_hot(torch.tensor(rows))[None, None].float()
    losses = []
    for a in range(8):
        positive = [
            cosine(support[0, 0, a], support[0, 0, j]) for j in range(8) if rows[j] == rows[a]
        ]
        negative = [
            cosine(support[0, 0, a], support[0, 0, j]) for j in range(8) if rows[j] != rows[a]
        ]
        losses.append(max(0.0, MARGIN + max(negative) - sum(positive) / len(positive)))
    # A support that pads the episode adds nothing.
    support = torch.cat([support, torch.zeros_like(support)], dim=1)
    weights = torch.cat([weights, torch.zeros_like(weights)], dim=1)
    t = Tokens(support[:, 0], support, weights, size=(2, 4))
    assert triplet_loss(t).item() == pytest.approx(sum(losses) / 8, rel=1e-4)
