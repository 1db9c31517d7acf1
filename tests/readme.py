"""`make readme`: writes the numbers of README.md from the stored results of the quick profile."""

from pathlib import Path

import pandas as pd

from la.files import write_whole

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BEGIN, END = "<!-- numbers: written by make readme -->\n", "<!-- end of numbers -->\n"
SHOWN = {"table1": ["1-way 1-shot"], "table2": ["2-way 1-shot", "5-way 1-shot"]}  # page: settings


def main() -> None:
    """Replace what stands between the two markers of README.md."""
    write_whole(
        README, with_numbers(README.read_text(encoding="utf-8"), ROOT / "results" / "quick")
    )


def with_numbers(text: str, results: Path) -> str:
    """The text with the block between its markers made anew from the tables in `results`.

    Raises:
        ValueError: a marker is missing.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    for marker, there in ((BEGIN, begin), (END, end)):
        if not there:
            raise ValueError(f"README.md lacks the line {marker.strip()}")
    return before + BEGIN + numbers(results) + END + after


def numbers(results: Path) -> str:
    """mIoU* of each method, mean of the folds, as a Markdown table with its caption."""
    tables = [pd.read_csv(results / f"{page}.csv").assign(page=page) for page in SHOWN]
    means = pd.concat(tables).query("fold == 'mean'")
    columns = {
        setting: means.query("page == @page and setting == @setting").set_index("method")
        for page, settings in SHOWN.items()
        for setting in settings
    }
    lines = [["mIoU\\* in percent, unseen classes", *columns], ["---"] * (1 + len(columns))]
    for method in dict.fromkeys(means["method"]):
        lines.append([method, *(_text(column, method) for column in columns.values())])
    rows = "".join("| " + " | ".join(line) + " |\n" for line in lines)
    return f"\n{rows}\nMean of four folds; ± is half of the 95 % interval.\n\n"


def _text(column: pd.DataFrame, method: str) -> str:
    if method not in column.index:
        return ""
    row = column.loc[method]
    return f"{row['value']:.1f} ± {row['half_width']:.1f}"


if __name__ == "__main__":
    main()
