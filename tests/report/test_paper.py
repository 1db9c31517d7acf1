"""The published numbers, against values typed by hand; the summary, from results made by hand."""

import pytest
from hand_made import with_iou

from la.report.scores.paper import beside, published, summary
from la.types import PromptKind

WAYS = (1, 2, 3, 4, 5, 10, 15, 20)
COMPARATORS_1 = ["DCAMA", "FPTrans", "LA (MAE)", "LA (SAM)"]
COMPARATORS_2 = ["PANet", "PPNet(w/o U)", "PPNet", "DENet", "MFNet", "LA (MAE)", "LA (SAM)"]


@pytest.fixture(scope="module")
def table():
    return published()


def value(table, number, row, setting, fold="mean"):
    chosen = table[
        (table.table == number)
        & (table.row == row)
        & (table.setting == setting)
        & (table.fold == fold)
    ]
    assert len(chosen) == 1
    return chosen.value.item()


def test_every_cell_of_the_five_tables_is_there_once(table):
    assert list(table.columns) == ["table", "row", "setting", "fold", "value", "note"]
    assert not table.duplicated(["table", "row", "setting", "fold"]).any()
    counts = {1: 4 * 2 * 5, 2: 7 * 2 * 5, 3: 3 * 8, 4: 4 * 2, 5: 4 * 4}
    assert table.groupby("table").size().to_dict() == counts
    assert set(table.fold) == {"0", "1", "2", "3", "mean"}
    assert list(table[table.table == 1].row.unique()) == COMPARATORS_1
    assert list(table[table.table == 2].row.unique()) == COMPARATORS_2
    assert set(table[table.table == 2].setting) == {"2-way 1-shot", "5-way 1-shot"}
    assert list(table[table.table == 3].setting.unique()) == [f"{n}-way 1-shot" for n in WAYS]
    assert table.value.between(4, 61).all()


@pytest.mark.parametrize(
    ("number", "row", "setting", "values"),
    [
        (1, "DCAMA", "1-way 1-shot", [49.5, 52.7, 52.8, 48.7, 50.9]),
        (1, "FPTrans", "1-way 5-shot", [49.9, 56.5, 55.4, 53.2, 53.8]),
        (1, "LA (MAE)", "1-way 1-shot", [35.2, 44.0, 39.4, 40.4, 39.7]),
        (1, "LA (SAM)", "1-way 5-shot", [42.4, 49.3, 45.9, 43.4, 45.1]),
        (2, "PANet", "2-way 1-shot", [25.7, 16.1, 16.2, 13.8, 18.0]),
        (2, "PPNet(w/o U)", "5-way 1-shot", [24.3, 16.8, 14.3, 12.8, 17.1]),
        (2, "MFNet", "5-way 1-shot", [29.7, 21.2, 15.4, 17.1, 20.9]),
        (2, "LA (SAM)", "2-way 1-shot", [31.0, 38.2, 34.7, 34.5, 34.6]),
    ],
)
def test_rows_with_folds_are_as_printed(table, number, row, setting, values):
    folds = ["0", "1", "2", "3", "mean"]
    assert [value(table, number, row, setting, fold) for fold in folds] == values


def test_rows_without_folds_are_as_printed(table):
    sam = [43.1, 34.6, 31.7, 29.6, 27.7, 23.6, 16.9, 13.7]
    dcama = [50.9, 31.7, 24.2, 21.1, 16.7, 10.8, 6.5, 4.7]
    for row, values in (("LA (SAM)", sam), ("DCAMA", dcama)):
        assert [value(table, 3, row, f"{n}-way 1-shot") for n in WAYS] == values
    ablations = {
        "Complete model": [39.2, 30.9],
        "w/o Spatial Convolutions": [34.2, 27.6],
        "w/o Class Example Mixer": [38.7, 30.9],
        "w/o Token Pool": [38.3, 30.1],
    }
    for row, values in ablations.items():
        got = [value(table, 4, row, s, "0") for s in ("1-way 1-shot", "2-way 1-shot")]
        assert got == values
    settings = ["1-way 1-shot", "1-way 5-shot", "2-way 1-shot", "2-way 5-shot"]
    assert [value(table, 5, "Only boxes", s) for s in settings] == [38.3, 41.2, 30.6, 31.5]
    assert [value(table, 5, "Boxes and points", s) for s in settings] == [37.1, 40.8, 29.2, 30.7]


def test_printed_means_are_the_means_of_the_folds_except_where_a_note_says_so(table):
    wrong = set()
    wide = table[table.table <= 2].pivot(
        index=["table", "row", "setting"], columns="fold", values="value"
    )
    for key, row in wide.iterrows():
        if abs(row[["0", "1", "2", "3"]].mean() - row["mean"]) > 0.0501:
            wrong.add(key)
    noted = table[table.note.str.startswith("the four folds average")]
    assert wrong == set(zip(noted.table, noted.row, noted.setting, strict=True))
    assert (1, "LA (SAM)", "1-way 5-shot") in wrong and len(wrong) == 3


def test_the_known_contradictions_are_kept_and_noted(table):
    for number, row, setting, fold, printed, elsewhere in (
        (
            5,
            "Only masks",
            "1-way 1-shot",
            "mean",
            43.5,
            value(table, 1, "LA (SAM)", "1-way 1-shot"),
        ),
        (
            4,
            "Complete model",
            "2-way 1-shot",
            "0",
            30.9,
            value(table, 2, "LA (SAM)", "2-way 1-shot", "0"),
        ),
    ):
        assert value(table, number, row, setting, fold) == printed != elsewhere
        note = table[(table.table == number) & (table.row == row) & (table.setting == setting)].note
        assert str(elsewhere) in note.item()
    right_half = table[(table.table == 2) & (table.setting == "5-way 1-shot")]
    assert right_half.note.str.contains("the text 2-way 5-shot").all()


def test_the_tables_agree_where_they_repeat_a_number(table):
    for row in ("LA (MAE)", "LA (SAM)"):
        for n, number in ((1, 1), (2, 2), (5, 2)):
            setting = f"{n}-way 1-shot"
            assert value(table, number, row, setting) == value(table, 3, row, setting)
    assert value(table, 1, "DCAMA", "1-way 1-shot") == value(table, 3, "DCAMA", "1-way 1-shot")
    for setting, number in (("1-way 5-shot", 1), ("2-way 1-shot", 2)):
        assert value(table, 5, "Only masks", setting) == value(table, number, "LA (SAM)", setting)


def test_the_papers_table_has_the_same_layout_as_ours():
    table = beside("table1")
    assert table.loc["LA (SAM)", ("1-way 5-shot", "fold-1")] == 49.3
    assert list(beside("table4").columns) == [
        ("1-way 1-shot", "fold-0"),
        ("2-way 1-shot", "fold-0"),
    ]


def test_the_summary_puts_the_papers_numbers_beside_ours_under_their_own_header():
    boxes = (PromptKind.BOX,)
    results = [
        with_iou(30, method="threshold_prototype"), with_iou(40), with_iou(50, protocol="paper"),
        with_iou(20, kinds=boxes), with_iou(10, method="floor"),
        with_iou(1, supports="exchanged"), with_iou(99, classes="seen"),
    ]  # fmt: skip
    table = summary(results)
    assert list(table.index) == [("masks", "1-way 1-shot"), ("boxes", "1-way 1-shot")]
    assert table["ours"].columns.tolist() == ["LA", "Prototype, threshold"]
    assert table["ours", "LA"].tolist() == ["40.0", "20.0"]
    paper = table["the paper (COCO-20i)"]
    assert paper["LA (SAM)"].tolist() == [43.1, 38.3]
    assert paper["LA (MAE)"].tolist() == [39.7, ""]


def test_a_summary_of_nothing_says_what_to_do():
    with pytest.raises(ValueError, match="make reproduce"):
        summary([])
