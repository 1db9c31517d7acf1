"""Cells as files: what is written comes back, and what is damaged is named."""

import json

import numpy as np
import pytest
from hand_made import result

from la.experiment.results import Cell, load_cell, save_cell
from la.types import PromptKind

WITHOUT_DECODER = {
    "floor", "class_prior", "prototype", "threshold_prototype", "part_prototypes", "affinity",
    "ridge",
}  # fmt: skip


def test_a_cell_comes_back_with_all_its_counts(tmp_path):
    written = result(ids=[(3,), (11,)], kinds=(PromptKind.BOX, PromptKind.POINT))
    save_cell(written, tmp_path / "cell.json")
    read = load_cell(tmp_path / "cell.json")
    assert read.cell == written.cell and read.classes == written.classes
    np.testing.assert_array_equal(read.confusion, written.confusion)
    np.testing.assert_array_equal(read.class_ids, written.class_ids)
    assert read.scores.miou_star == written.scores.miou_star


def test_the_score_stands_in_the_file_for_who_reads_it_without_us(tmp_path):
    save_cell(result(), tmp_path / "cell.json")
    assert json.loads((tmp_path / "cell.json").read_text())["miou_star"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"version": ', '"version": 9'),
        lambda text: "{}",
    ],
)
def test_a_damaged_file_is_named_and_what_to_do(tmp_path, damage):
    path = tmp_path / "cell.json"
    save_cell(result(), path)
    path.write_text(damage(path.read_text()))
    with pytest.raises(ValueError, match="cell.json is no result .* delete it and run again"):
        load_cell(path)


def test_file_names_differ_by_everything_a_number_depends_on():
    cell = Cell("la", 0, 1, 1, 0, 400)
    others = [
        Cell("la", 0, 1, 1, 0, 400, kinds=(PromptKind.BOX,)),
        Cell("la", 0, 1, 1, 0, 400, protocol="paper"),
        Cell("la", 0, 1, 1, 0, 401),
        Cell("la", 1, 1, 1, 0, 400),
    ]
    names = [cell.file_name("x"), cell.file_name("y"), *(o.file_name("x") for o in others)]
    assert len(set(names)) == len(names)
    assert cell.file_name("x") == cell.file_name("x")


def test_a_variants_file_name_has_no_slash_and_no_space():
    name = Cell("la w/o Token Pool seed 1", 0, 1, 1, 0, 400).file_name("x")
    assert name.startswith("la-w-o-token-pool-seed-1_fold0_1way_1shot_mask_seed0_")
    assert not set(name) & set("/ ")
