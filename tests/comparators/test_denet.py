"""DENet against its formula written with loops, and its bank of classes."""

import torch

from la.comparators.denet import BANK, DENet
from la.comparators.tokens import tokens
from tests.comparators.rival_episodes import shaken, wide_episodes


def trained_on(*class_ids: int) -> DENet:
    model = shaken(DENet)
    model.trained[list(class_ids)] = True
    return model


@torch.inference_mode()
def test_denet_is_its_formula_written_out() -> None:
    batch, model = wide_episodes(), trained_on(7, 9, 11, 12)
    t = tokens(batch, model.raster, model.adapter)
    scores = model(batch)
    for b in range(2):
        n_rows = int(batch.class_valid[b].sum())
        asked = set(batch.class_ids[b].tolist())
        others = [row for row in (7, 9, 11, 12) if row not in asked]
        for i, q in enumerate(t.query[b]):
            background = max(float(q @ model.bank[row]) for row in others)
            assert abs(scores[b, 0].flatten()[i] - background) < 1e-4
        for c in range(1, n_rows):
            shots = []
            for support, weights in zip(t.support[b], t.weights[b], strict=True):
                if weights[:, c].sum() > 0:
                    covered = sum(v * f for v, f in zip(weights[:, c], support, strict=True))
                    squeezed = model.squeeze(covered / len(support)).relu()
                    gate = model.excite(squeezed).sigmoid()
                    gated = sum(v * gate * f for v, f in zip(weights[:, c], support, strict=True))
                    shots.append(gated / weights[:, c].sum())
            vector = model.generate(sum(shots) / len(shots))
            expected = t.query[b] @ vector
            torch.testing.assert_close(scores[b, c].flatten(), expected, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_the_bank_row_of_a_class_of_the_episode_plays_no_role() -> None:
    batch, model = wide_episodes(), trained_on(7, 9, 11)
    before = model(batch)
    model.bank[9] += 100.0  # both episodes ask for class 9
    torch.testing.assert_close(model(batch), before)
    model.bank[7] += 100.0  # in episode 1 class 7 is background
    changed = model(batch)
    torch.testing.assert_close(changed[0], before[0])
    assert not torch.allclose(changed[1, 0], before[1, 0])


def test_training_marks_the_classes_that_it_asked_for() -> None:
    batch, model = wide_episodes(), shaken(DENet)
    model.eval()(batch)
    assert not model.trained.any()
    model.train()(batch)
    assert model.trained.nonzero().flatten().tolist() == [7, 9]
    # Episode 0 asks for both, so every other row is its background.
    assert model.bank_rows(batch)[0].sum() == BANK - 2
    assert model.bank_rows(batch)[1].nonzero().flatten().tolist() == [7]
