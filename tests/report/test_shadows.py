"""Trained comparators beside their training-free shadows, from scores known by hand."""

from hand_made import with_iou

from la.experiment.methods import METHODS, RIVALS, label
from la.report.verdicts.shadows import SHADOWS, not_above_shadow, shadows


def scored(**ious):
    return [with_iou(iou, method=name) for name, iou in ious.items()]


def test_every_trained_comparator_has_a_shadow_that_is_not_trained():
    rules = {"dcama_one_class", "dcama_mispaired"}  # on the weights of dcama
    trained = {name for name, rival in RIVALS.items() if rival.network} - rules
    assert SHADOWS.keys() == trained
    assert all(METHODS[shadow].configure is None for shadow in SHADOWS.values())


def test_a_comparator_below_its_shadow_or_the_prior_is_named_with_both_scores():
    results = scored(la=60, panet=40, prototype=45, dcama=30, affinity=20, class_prior=35)
    table = shadows(results)
    assert table.loc[("1-way 1-shot", label("panet"))].to_list() == [
        40,
        label("prototype"),
        45,
        35,
    ]
    assert not_above_shadow(table).sentence == (
        "PANet, in this harness is not above Prototype, background prototype in 1-way 1-shot "
        "(40.0 against 45.0 %); DCAMA, in this harness is not above Class prior in 1-way 1-shot "
        "(30.0 against 35.0 %)."
    )


def test_comparators_above_both_are_counted():
    results = scored(panet=40, prototype=30, mfnet=35, class_prior=20)
    finding = not_above_shadow(shadows(results))
    assert finding.sentence == (
        "All 2 trained comparators are above their training-free shadow and the class prior in "
        "every setting."
    )
    without_prior = not_above_shadow(shadows(results[:-1]))
    assert without_prior.sentence.endswith("class prior wherever those were scored.")
    assert "METHODS=all" in not_above_shadow(shadows(scored(la=50))).sentence


def test_a_page_without_trained_comparators_says_so() -> None:
    sentence = not_above_shadow(shadows([])).sentence
    assert sentence.startswith("This page has no trained comparators.")
