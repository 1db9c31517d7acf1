"""What the fault of pairing explains, from scores known by hand."""

import math

from hand_made import scored

from la.experiment.methods import label
from la.report.verdicts.pairing import PAPERS, SHARE, explained_by_pairing, pairing


def three_ways(one_pass, rule, fault):
    """Results of the three rows at 1 and at 3 classes; with one class they are equal."""
    names = {"dcama": one_pass, "dcama_one_class": rule, "dcama_mispaired": fault}
    at_one = [scored(name, 1, 50) for name in names]
    return at_one + [scored(name, 3, percent) for name, percent in names.items()]


def test_the_share_is_what_right_pairing_undoes_of_the_fall():
    results = three_ways(45, 30, 10)
    table = pairing([*results, scored("dcama", 1, 90, shots=5), scored("la", 3, 60)])
    assert list(table.index) == [1, 3]
    assert table.loc[3, label("dcama")] == 45
    assert table.loc[3, SHARE] == 100 * (30 - 10) / (50 - 10)
    assert math.isnan(table.loc[1, SHARE])  # nothing falls
    assert (table.loc[1, PAPERS], table.loc[3, PAPERS]) == (50.9, 24.2)
    assert explained_by_pairing(table).sentence == (
        "At 3 classes DCAMA, run once per class, scores 30.0 %, and 10.0 % if the masks lie over "
        "the first images of the episode: of the fall from 50.0 % at one class to 10.0 % that "
        "fault explains 50 %. The paper prints 50.9 % and 24.2 %."
    )


def test_a_fault_that_costs_nothing_explains_nothing():
    assert pairing(three_ways(45, 30, 30)).loc[3, SHARE] == 0


def test_without_all_three_rows_the_finding_says_what_computes_them():
    results = [r for r in three_ways(45, 30, 10) if r.measurement.method != "dcama_mispaired"]
    assert pairing(results).empty
    finding = explained_by_pairing(pairing(results))
    assert "METHODS=la,dcama,dcama_one_class,dcama_mispaired" in finding.sentence
    no_one_way = [r for r in three_ways(45, 30, 10) if r.measurement.n_ways > 1]
    assert pairing(no_one_way).empty
