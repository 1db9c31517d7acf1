"""Prototype methods against affinity methods, and how costs grow, from numbers known by hand."""

import pandas as pd
from hand_made import scored

from la.experiment.methods import KNOWN
from la.report.verdicts.families import (
    AFFINITIES,
    COSTS,
    PROTOTYPES,
    by_family,
    by_quantity,
    cost_growth,
    growth,
    prototypes_against_affinities,
)


def test_no_method_belongs_to_both_families():
    assert not set(PROTOTYPES) & set(AFFINITIES)
    assert {*PROTOTYPES, *AFFINITIES} <= KNOWN.keys()


def test_the_best_of_each_family_is_taken_at_each_n():
    results = [scored("la", 1, 50), scored("prototype", 1, 60), scored("affinity", 1, 40)]
    results += [scored("la", 3, 30), scored("prototype", 3, 20), scored("affinity", 3, 25)]
    results += [scored("affinity", 1, 90, shots=5), scored("ridge", 3, 80), scored("la", 2, 45)]
    table = by_family(results)
    assert table["best prototype method"].to_dict() == {
        1: "Prototype, background prototype",
        3: "LA",
    }
    assert table["prototypes, mIoU*"].to_dict() == {1: 60, 3: 30}
    assert table["affinities, mIoU*"].to_dict() == {1: 40, 3: 25}
    finding = prototypes_against_affinities(results)
    assert finding.sentence == (
        "At 3 classes the best prototype method (LA) scores 30.0 % and the best affinity method "
        "(Affinity) 25.0 %."
    )
    assert finding.verdict == "confirmed"
    assert finding.interval == "lead in points: +5.0 ± 0.0 with 3 classes"


def test_an_affinity_method_that_is_ahead_at_one_n_refutes_the_claim():
    results = [scored("la", 2, 30), scored("affinity", 2, 40)]
    results += [scored("la", 3, 30), scored("affinity", 3, 20)]
    assert prototypes_against_affinities(results).verdict == "not confirmed"
    assert prototypes_against_affinities(results[:1]).verdict == "not run"
    equal = [scored("la", 2, 30), scored("affinity", 2, 30)]
    assert prototypes_against_affinities(equal).verdict == "unresolved"


def costs(*rows):
    return pd.DataFrame(rows, columns=["method", "N", "K", "milliseconds", "peak_mb"])


def test_the_table_of_costs_has_units_and_the_methods_in_their_order():
    frame = costs(("LA", 1, 1, 2.04, 10.0), ("Affinity", 1, 1, 1.0, 5.0), ("LA", 5, 1, 3.0, 12.0))
    names = {"milliseconds": "ms per query", "peak_mb": "peak memory (MB)"}
    table = by_quantity(frame, "N", names)
    assert list(table.columns) == ["LA", "Affinity"]
    assert table.loc[("ms per query", 1), "LA"] == 2.0
    assert table.loc[("peak memory (MB)", 5), "LA"] == 12.0
    assert len(table) == 4


def test_growth_is_the_factor_from_the_fewest_to_the_most():
    frame = costs(
        ("LA", 1, 1, 2.0, 10.0),
        ("LA", 5, 1, 3.0, 10.0),
        ("LA", 20, 1, 4.0, 30.0),
        ("LA", 1, 10, 8.0, 15.0),
    )
    assert growth(frame, "N").loc["LA"].to_list() == [2.0, 3.0]
    assert growth(frame, "K").loc["LA"].to_list() == [4.0, 1.5]


def test_every_affinity_method_must_grow_faster_with_k():
    rows = [("LA", 1, 1, 2.0, 10.0), ("LA", 1, 10, 4.0, 20.0)]
    rows += [("Affinity", 1, 1, 1.0, 5.0), ("Affinity", 1, 10, 8.0, 50.0)]
    finding = cost_growth(costs(*rows), "K", "time")
    assert finding.sentence == (
        "From 1 to 10 examples of a class the time of a query grows by a factor of 2.0 for LA, 8.0 "
        "for Affinity."
    )
    assert finding.verdict == "confirmed"
    dcama = [("DCAMA, in this harness", 1, k, 3.0, 9.0) for k in (1, 10)]
    assert cost_growth(costs(*rows, *dcama), "K", "time").verdict == "not confirmed"
    dcama = [("DCAMA, in this harness", 1, k, 1 + 0.13 * k, 9.0) for k in (1, 10)]
    assert cost_growth(costs(*rows, *dcama), "K", "time").verdict == "unresolved"
    assert cost_growth(costs(*rows[:2]), "K", "time").verdict == "not run"


def test_time_and_memory_have_a_verdict_each():
    rows = [("LA", 1, 1, 2.0, 1.0), ("LA", 20, 1, 4.0, 20.0), ("LA", 1, 5, 99.0, 9.0)]
    rows += [("Affinity", 1, 1, 1.0, 1.0), ("Affinity", 20, 1, 8.0, 10.0)]
    time = cost_growth(costs(*rows), "N", "time")
    assert time.verdict == "confirmed"
    assert "the time of a query grows by a factor of 2.0 for LA, 8.0 for Affinity" in time.sentence
    memory = cost_growth(costs(*rows), "N", "memory")
    assert memory.verdict == "not confirmed"
    assert memory.sentence == (
        "From 1 to 20 classes the peak memory of a query grows by a factor of 20.0 for LA, 10.0 "
        "for Affinity."
    )
    for (over, quantity), claim in COSTS.items():
        assert f"The {quantity} of" in claim.text and f"with {over} " in claim.text
