"""`make readme`: writes what README.md and docs/ say of the stored results of the quick profile."""

import json
import re
from pathlib import Path

import pandas as pd

from la.experiment.setup.measurements import read_lines
from la.files import write_whole
from la.report.pages.freshness import KEPT_WITH
from la.report.pages.questions import questions
from la.report.scores.tables import WITH_RIVALS, measurements
from la.report.verdicts.finding import CLAIMS
from tests.readme_comparators import Stored, comparators, comparators_by_ways, stored_lines

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
COMPARATORS = ROOT / "docs" / "comparators.md"
RESULTS = ROOT / "results" / "quick"
SHOWN = {"table1": ["1-way 1-shot"], "table2": ["2-way 1-shot", "5-way 1-shot"]}  # page: settings
PAGES = {
    "table1": "Table 1: 1-way, 1 and 5 shots",
    "table2": "Table 2: 2-way and 5-way",
    "table3": "Table 3: N-way",
    "table4": "Table 4: ablations",
    "table5": "Table 5: kinds of prompts",
    "figure3": "Figure 3",
    "prompts_used": "Use of prompts",
    "protocol": "Rules of scoring",
    "curves": "Score, time and memory over N and K",
    "train": "Training and the start of the weights",
    "choosing": "Which labelled images to keep as examples",
    "adapting": "Adapting the decoder to the examples",
    "model": "The model, step by step",
    "own_method": "A method of your own",
}
ROWS = (  # of the tables
    "LA",
    "DCAMA, in this harness",
    "PANet, in this harness",
    "Prototype, threshold",
    "Affinity",
    "Ridge classifier",
)
BOLD = re.compile(r"^\*\*.+\*\*$", re.M)
MINUTES = re.compile(r"minutes of evaluation\s*\|\s*([\d.]+)")


def main() -> None:
    """Replace what stands between the markers of README.md and docs/comparators.md."""
    text = README.read_text(encoding="utf-8")
    write_whole(README, with_results(text, RESULTS))
    text = COMPARATORS.read_text(encoding="utf-8")
    write_whole(COMPARATORS, with_comparators(text, stored_lines(RESULTS)))


def with_results(text: str, results: Path) -> str:
    """The text with the blocks between its markers replaced by what is in the files of `results`.

    Raises:
        ValueError: a marker is missing.
    """
    listed = [line.removeprefix("- ") for line in questions(ROOT).splitlines()]
    text = with_block(text, "questions", " · ".join(listed) + "\n")
    found = f"{finding(results)}\n{numbers(results)}\n{verdicts(results)}"
    text = with_block(text, "numbers", found)
    return with_block(text, "pages", pages(results))


def with_comparators(text: str, stored: Stored) -> str:
    """The text with its two tables of comparators made from the stored measurements.

    Raises:
        ValueError: a marker is missing.
    """
    text = with_block(text, "measured", comparators(stored))
    return with_block(text, "ways", comparators_by_ways(stored))


def with_block(text: str, name: str, content: str) -> str:
    """The text with `content` between the two markers of this name.

    Raises:
        ValueError: a marker is missing.
    """
    begin, end = f"<!-- {name}: written by make readme -->\n", f"<!-- end of {name} -->\n"
    for marker in (begin, end):
        if marker not in text:
            raise ValueError(f"the text lacks the line {marker.strip()}")
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{content}\n{end}{after}"


def finding(results: Path) -> str:
    """The bold sentence of the front page: first where LA is not ahead; "" without the page."""
    path = results / "README.md"
    sentence = BOLD.search(path.read_text(encoding="utf-8")) if path.exists() else None
    return f"{sentence.group()}\n" if sentence else ""


def numbers(results: Path) -> str:
    """mIoU* of the methods of `ROWS`, mean of the folds, as a Markdown table with its caption."""
    tables = [pd.read_csv(results / f"{page}.csv").assign(page=page) for page in SHOWN]
    means = pd.concat(tables).query("fold == 'mean'")
    columns = {
        setting: means.query("page == @page and setting == @setting").set_index("method")
        for page, settings in SHOWN.items()
        for setting in settings
    }
    lines = [["mIoU\\* in percent, unseen classes", *columns], ["---"] * (1 + len(columns))]
    for method in (name for name in ROWS if name in set(means["method"])):
        lines.append([method, *(_text(column, method) for column in columns.values())])
    rows = "".join("| " + " | ".join(line) + " |\n" for line in lines)
    caption = "Means of four folds; ± is half of the 95 % interval. All methods: Tables 1 to 3."
    return f"{rows}\n{caption}\n"


def _text(column: pd.DataFrame, method: str) -> str:
    if method not in column.index:
        return ""
    row = column.loc[method]
    return f"{row['value']:.1f} ± {row['half_width']:.1f}"


def verdicts(results: Path) -> str:
    """A row for each claim of the paper that the front page of the results judges."""
    path = results / "README.md"
    front = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = ["| the paper's claim | here |\n", "|---|---|\n"]
    for claim in CLAIMS:
        place = r"(?: \([^|]*\))?"  # the link and the section
        text = re.escape(claim.text)
        row = re.search(rf"^\| {text}{place} *\| *([\w ]+?) *\|", front, re.M)
        if row:
            is_rendered = (results / f"{claim.page}.ipynb").exists()
            link = f"[{claim.text}](results/quick/{claim.page}.ipynb)"
            lines.append(f"| {link if is_rendered else claim.text} | {row.group(1)} |\n")
    return "".join(lines) if len(lines) > 2 else ""


def pages(results: Path) -> str:
    """The rendered notebooks with the target that makes each, as a Markdown table."""
    lines = ["| page | `make` | minutes |\n", "|---|---|---|\n"]
    for page, title in PAGES.items():
        is_rendered = (results / f"{page}.ipynb").exists()
        link = f"[{title}](results/quick/{page}.ipynb)" if is_rendered else f"{title}, not yet made"
        lines.append(f"| {link} | `reproduce-{page}` | {_minutes(results, page)} |\n")
    lines.append(
        "\nMinutes of evaluation on one CPU core, without training and without the trained "
    )
    lines.append(
        "comparators, which `METHODS=all` adds to Tables 1 to 3 and to the page on N and K.\n"
    )
    return "".join(lines)


def _minutes(results: Path, page: str) -> str:
    """Of the evaluation of a page's usual rows; "" where neither file nor page says."""
    file = results / "measurements" / f"{KEPT_WITH.get(page, page)}.jsonl"
    if page in WITH_RIVALS and file.exists():
        usual = {_as_json(m.to_json()) for m in measurements(page, "quick", folds=range(4))}
        lines = read_lines(file).values()
        seconds = [x["seconds"] for x in lines if _as_json(x["measurement"]) in usual]
        return f"{sum(seconds) / 60:.0f}"
    path = results / f"{page}.ipynb"
    found = MINUTES.search(path.read_text(encoding="utf-8")) if path.exists() else None
    if not found:
        return ""
    minutes = float(found.group(1))
    return f"{minutes:.0f}" if minutes >= 0.5 else "below 1"


def _as_json(measurement: dict[str, object]) -> str:
    return json.dumps(measurement, sort_keys=True)


if __name__ == "__main__":
    main()
