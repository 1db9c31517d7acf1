"""Escapes names of classes, so that matplotlib draws them letter by letter."""

from functools import cache

from matplotlib.font_manager import FontProperties, findfont, get_font


def literal(name: str) -> str:
    """The name as matplotlib shows it letter by letter.

    Dollars enclose no formula, and a leading underscore does not hide an entry of a legend.
    Characters that the font lacks are written as their code points, such as \\u732b.
    """
    known = _characters()
    letters = []
    for letter in name:
        is_known = ord(letter) in known or letter == "\n"
        letters.append(letter if is_known else letter.encode("unicode_escape").decode())
    text = "".join(letters).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


@cache
def _characters() -> frozenset[int]:
    """The code points that the font of figures can draw."""
    font = get_font(findfont(FontProperties()))
    return frozenset(font.get_charmap())
