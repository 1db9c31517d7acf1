import numpy as np
import pytest

from la.data.sampling.folds import seen, unseen
from la.errors import UserError

GAPS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
COCO = np.array([i for i in range(1, 91) if i not in GAPS])
INTERLEAVED = {  # by COCO id
    0: (1, 5, 9, 14, 18, 22, 27, 33, 37, 41, 46, 50, 54, 58, 62, 67, 74, 78, 82, 87),
    1: (2, 6, 10, 15, 19, 23, 28, 34, 38, 42, 47, 51, 55, 59, 63, 70, 75, 79, 84, 88),
    2: (3, 7, 11, 16, 20, 24, 31, 35, 39, 43, 48, 52, 56, 60, 64, 72, 76, 80, 85, 89),
    3: (4, 8, 13, 17, 21, 25, 32, 36, 40, 44, 49, 53, 57, 61, 65, 73, 77, 81, 86, 90),
}
BLOCK_ENDS = {0: (1, 21), 1: (22, 44), 2: (46, 65), 3: (67, 90)}


@pytest.mark.parametrize("fold", range(4))
def test_the_interleaved_folds_of_coco_are_every_fourth_category(fold):
    assert unseen(COCO, fold, "interleaved") == INTERLEAVED[fold]


@pytest.mark.parametrize("fold", range(4))
def test_the_block_folds_of_coco_are_quarters(fold):
    classes = unseen(COCO, fold, "blocks")
    assert len(classes) == 20 and (classes[0], classes[-1]) == BLOCK_ENDS[fold]
    assert classes == tuple(COCO[20 * fold : 20 * fold + 20])


@pytest.mark.parametrize("rule", ["interleaved", "blocks"])
@pytest.mark.parametrize("n_categories", [4, 7, 80])
def test_folds_split_the_categories_and_seen_is_the_rest(rule, n_categories):
    ids = COCO[:n_categories]
    folds = [unseen(ids[::-1], fold, rule) for fold in range(4)]
    assert sorted(sum(folds, ())) == ids.tolist()
    for fold in range(4):
        assert set(seen(ids, fold, rule)) == set(ids.tolist()) - set(folds[fold])
        assert all(type(i) is int for i in folds[fold])


def test_a_fold_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="no fold 4; known: 0, 1, 2, 3"):
        unseen(COCO, 4, "interleaved")


@pytest.mark.parametrize("rule", ["interleaved", "blocks"])
@pytest.mark.parametrize("n_categories", [1, 2, 3])
def test_fewer_than_four_classes_are_all_seen_and_all_tested(rule, n_categories):
    ids = COCO[:n_categories]
    for fold in range(4):
        assert unseen(ids, fold, rule) == seen(ids, fold, rule) == tuple(ids.tolist())


def test_no_class_at_all_is_an_error():
    with pytest.raises(UserError, match="no class; annotate at least one object"):
        unseen(COCO[:0], 0, "blocks")
