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
TABLE = re.compile(r"<table.*?</table>", re.S)
ROW = re.compile(r"<tr.*?</tr>", re.S)
CELL = re.compile(r"<t[dh]([^>]*)>(.*?)</t[dh]>", re.S)
TAG = re.compile(r"<[^>]+>")
EMPTY_HEADER = re.compile(r"<th(?: class=\"[^\"]*\")?>(?:<p></p>)?</th>")


def mend(page: str) -> str:
    """The HTML of a page with every correction."""
    for old, new in REPLACED:
        page = page.replace(old, new)
    page = page.replace(" ± ", "&nbsp;±&nbsp;")  # one number, one line
    page = LONG_CELL.sub('<td class="long">', page)
    page = TABLE.sub(lambda match: _with_names(match.group()), page)
    page = SETTING.sub(r'\1<span class="setting">\2</span>', page)
    return EMPTY_HEADER.sub("<td></td>", page)


def _with_names(table: str) -> str:
    """A table with long cells whose cells carry the names of their columns, for narrow screens."""
    if 'td class="long"' not in table or "</thead>" not in table:
        return table
    head, body = table.split("</thead>", 1)
    names = [TAG.sub("", content).strip() for _, content in CELL.findall(head)]
    rows = ROW.sub(lambda row: _named_row(row.group(), names), body)
    return f"{head}</thead>{rows}"


def _named_row(row: str, names: list[str]) -> str:
    left = iter(names)

    def named(cell: re.Match[str]) -> str:
        name = next(left, "")
        attribute = f' data-name="{name}"' if name else ""
        return cell.group().replace("<td", f"<td{attribute}", 1)

    return CELL.sub(named, row)
