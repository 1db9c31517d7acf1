"""What docs/comparators.md says about each method, compared with the code."""

import re
from pathlib import Path
from statistics import stdev

import pytest
import torch

from la.experiment.methods import RIVALS
from la.profiles import profile
from tests.readme import RESULTS, with_comparators
from tests.readme_comparators import Stored, comparators, comparators_by_ways, stored_lines

PAGE = (Path(__file__).parents[2] / "docs" / "comparators.md").read_text(encoding="utf-8")
TESTS = Path(__file__).parent
# Enough for a row with an interval, one without, and a missing one; rows do not depend on others.
SOME = ("la", "panet", "emat", "dcama", "threshold_prototype", "affinity")


def rows(header: str) -> list[list[str]]:
    """The cells of the table that has this first column header, without its two head lines."""
    lines = PAGE[PAGE.index(f"| {header} |") :].splitlines()[2:]
    table = []
    for line in lines:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    return table


def described() -> dict[str, list[str]]:
    """The rows of "Each method" by the name of the method."""
    return {re.findall(r"`(\w+)`", row[0])[0]: row[1:] for row in rows("name")}


def parameters(name: str) -> int:
    """What a row of `RIVALS` trains in the quick profile."""
    network = RIVALS[name].network
    if network is None:
        return 0
    with torch.random.fork_rng(devices=[]):
        return sum(p.numel() for p in network(profile("quick").model).parameters())


@pytest.mark.parametrize("name", RIVALS)
def test_every_rival_is_described_with_the_number_of_its_parameters(name: str) -> None:
    if name in ("dcama_one_class", "dcama_mispaired"):
        assert f"| `{name}` |" in PAGE  # a rule on the weights of `dcama`
        return
    n_parameters, kept, lost, published = described()[name]
    assert int(n_parameters.replace(",", "")) == parameters(name)
    assert kept and lost and re.search(r"\d", published)


def test_numbers_of_others_name_protocol_backbone_labels_and_rule() -> None:
    for row in rows("system"):
        assert len(row) == 9
        assert all(row[5:]), row[0]


def test_every_oracle_that_the_page_lists_is_a_test() -> None:
    listed = re.findall(r"`(test_\w+\.py)`: `(test_\w+)`", PAGE)
    assert {row[0] for row in rows("method")} >= {"PANet", "EMAT", "INSID3", "DENet"}
    assert len(listed) >= 15
    for file, test in listed:
        assert f"def {test}(" in (TESTS / file).read_text(encoding="utf-8"), test


@pytest.fixture(scope="module")
def stored() -> Stored:
    return stored_lines(RESULTS)


def test_the_measured_tables_hold_the_stored_results(stored: Stored) -> None:
    assert with_comparators(PAGE, stored) == PAGE, "run make readme"


def test_a_cell_is_the_mean_of_lists_and_folds_with_the_interval_of_the_lists(
    stored: Stored,
) -> None:
    """The arithmetic is written out; a list that lacks a fold does not count."""
    kept: Stored = {}
    lists: dict[int, list[float]] = {0: [], 1: [], 2: []}
    for table, lines in stored.items():
        kept[table] = []
        for line in lines:
            measured = line["measurement"]
            if measured["method"] not in SOME:
                continue
            place = (table, measured["method"], measured["k_shots"])
            if place == ("table1", "panet", 5):
                lists[measured["seed"]].append(100 * line["miou_star"])
            of_list = (measured["method"], measured["seed"])
            if measured["fold"] < 3 or (of_list[0] != "dcama" and of_list != ("emat", 2)):
                kept[table].append(line)
    written = comparators(kept)
    means = [sum(folds) / 4 for folds in lists.values()]
    assert [len(folds) for folds in lists.values()] == [4, 4, 4]
    half = 4.303 * stdev(means) / 3**0.5  # t of 2 degrees of freedom
    assert cells(written, "PANet")[1] == f"{sum(means) / 3:.1f} ± {half:.1f}"
    assert "±" not in cells(written, "EMAT")[1]
    assert "| DCAMA |" not in written


def cells(table: str, method: str) -> list[str]:
    """The texts of a method's row, after its name."""
    row = next(line for line in table.splitlines() if line.startswith(f"| {method} |"))
    return [text.strip(" *") for text in row.split("|")[2:-1]]


def test_the_share_that_is_kept_with_most_classes_is_computed_from_the_row_itself(
    stored: Stored,
) -> None:
    _, _, *rows = comparators_by_ways(stored).splitlines()
    assert len(rows) >= 4
    for row in rows:
        one, *_, twenty, kept = [cell.strip(" *%").split(" ")[0] for cell in row.split("|")[2:-1]]
        assert abs(100 * float(twenty) / float(one) - float(kept)) < 1, row
