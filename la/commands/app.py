"""The command line that commands register with."""

from typer import Typer

app = Typer(
    help="Label Anything, the workbook.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
