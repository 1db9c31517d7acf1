"""The paper's Tables 1-5 as data, to stand beside our numbers and never among them."""

from importlib.resources import files

import pandas as pd


def published() -> pd.DataFrame:
    """Every number of the paper's Tables 1-5 as printed, one a line, in the paper's order.

    Columns: table (1-5), row (the system or configuration as printed, without its citation number),
    setting (such as "1-way 5-shot"), fold ("0" to "3", or "mean"), value (mIoU in percent), note
    (where the paper contradicts itself, else ""). Tables 3 and 5 are means over folds, Table 4 is
    fold 0; both 4 and 5 are LA (SAM). Other systems were scored under protocols of their own.
    """
    path = files("la") / "published" / "tables.csv"
    with path.open(encoding="utf-8") as file:
        return pd.read_csv(file, dtype={"fold": str}, keep_default_na=False)
