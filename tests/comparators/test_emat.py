"""EMAT: dropped tokens, single tokens, and each class apart."""

import torch

from la.comparators.emat import EMAT, correlations, inside
from la.comparators.one_class import one_class
from la.comparators.squeeze import attend, drop
from tests.comparators.episodes import cosine
from tests.comparators.rival_episodes import WIDE, shaken, wide_episodes


def test_correlations_are_cosines_of_each_group_of_channels() -> None:
    g = torch.Generator().manual_seed(0)
    query, support = torch.randn(2, 1, WIDE, 2, 2, generator=g)
    got = correlations(query, support)
    for group in range(8):
        part = slice(group * WIDE // 8, (group + 1) * WIDE // 8)
        for i in range(4):
            for j in range(4):
                pair = query[0, part].flatten(1)[:, i], support[0, part].flatten(1)[:, j]
                assert abs(float(got[0, group, i, j]) - cosine(*pair)) < 1e-5


def test_dropping_tokens_equals_adding_a_large_negative_number_to_their_logits() -> None:
    g = torch.Generator().manual_seed(0)
    query = torch.randn(2, 8, 3, 4, generator=g)
    key, value = torch.randn(2, 2, 8, 3, 9, generator=g)
    kept = torch.rand(2, 9, generator=g) < 0.5
    few_keys, is_kept = drop(key, kept)
    few_values, _ = drop(value, kept)
    assert few_keys.shape[-1] == kept.sum(1).max()
    got = attend(query, few_keys, few_values, is_kept)
    for head in range(4):
        part = slice(2 * head, 2 * head + 2)
        logits = torch.einsum("ecim,ecin->eimn", query[:, part], key[:, part])
        logits = logits - 1e9 * ~kept[:, None, None]
        expected = torch.einsum("eimn,ecin->ecim", logits.softmax(-1), value[:, part])
        torch.testing.assert_close(got[:, part], expected, atol=1e-5, rtol=1e-4)


def test_a_single_kept_token_hands_on_its_value() -> None:
    g = torch.Generator().manual_seed(0)
    query = torch.randn(1, 8, 3, 4, generator=g)
    key, value = torch.randn(2, 1, 8, 3, 9, generator=g)
    kept = torch.zeros(1, 9, dtype=torch.bool)
    kept[0, 5] = True
    got = attend(query, key, value, kept)
    torch.testing.assert_close(got, value[..., 5:6].expand_as(got))


def test_an_example_without_coverage_keeps_all_cells() -> None:
    coverage = torch.tensor([[[0.0, 0.2], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    assert inside(coverage).flatten(1).tolist() == [[False, True, False, False], [True] * 4]


@torch.inference_mode()
def test_each_class_is_segmented_against_its_own_background() -> None:
    batch, model = wide_episodes(), shaken(EMAT)
    together = model(batch)
    assert (together[:, 0] == 0).all()
    for row in (1, 2):
        alone = model(one_class(batch, row))
        has_row = batch.class_valid[:, row]
        torch.testing.assert_close(alone[:, 1], together[has_row, row], atol=1e-4, rtol=1e-4)
