"""Corrections of the HTML that Sphinx and its theme write, for keyboards and screen readers."""

import re

REPLACED = (
    # A heading needs a level.
    ('class="caption" role="heading"', 'class="caption" role="heading" aria-level="2"'),
    # The name that is read aloud must contain the one that is shown, "Code".
    ('<summary aria-label="Toggle hidden content">', "<summary>"),
    # What scrolls must be reachable without a mouse.
    ("<pre>", '<pre tabindex="0">'),
    ('<div class="output text_html">', '<div class="output text_html" tabindex="0">'),
    ('<div class="table-wrapper ', '<div tabindex="0" class="table-wrapper '),
    # Two landmarks of one kind are told apart by their names.
    ('<aside class="sidebar-drawer">', '<aside class="sidebar-drawer" aria-label="All pages">'),
    ('<aside class="toc-drawer', '<aside aria-label="On this page" class="toc-drawer'),
)
LONG_CELL = re.compile(r"<td(?: class=\"[^\"]*\")?>(?=<p>[^<]{80})")  # needs some width on a phone
SETTING = re.compile(r"(<t[hd][^>]*>(?:<p>)?)(\d+-way \d+-shot)")
EMPTY_HEADER = re.compile(r"<th(?: class=\"[^\"]*\")?>(?:<p></p>)?</th>")


def mend(page: str) -> str:
    """The HTML of a page with every correction."""
    for old, new in REPLACED:
        page = page.replace(old, new)
    page = page.replace(" ± ", "&nbsp;±&nbsp;")  # one number, one line
    page = LONG_CELL.sub('<td class="long">', page)
    page = SETTING.sub(r'\1<span class="setting">\2</span>', page)
    return EMPTY_HEADER.sub("<td></td>", page)
