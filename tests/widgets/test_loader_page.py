"""The loader of the widgets' JavaScript in an empty page."""

import pytest

from la.widgets.page import browser

pytestmark = pytest.mark.browser

CODE = """
globalThis.imports = (globalThis.imports ?? 0) + 1;
export default { render({ model, el }) {
    el.append(model.get("name"));
    return () => { globalThis.lastClosed = model.get("name"); };
} };
"""
DISPLAY = """async ([loader, states]) => {
    const url = URL.createObjectURL(new Blob([loader], { type: "text/javascript" }));
    window.closes ??= [];
    for (const state of states) {
        const el = document.body.appendChild(document.createElement("div"));
        const itself = { async _handle_comm_msg() {} };
        const widget_manager = { get_model: async () => itself };
        const model = { get: (key) => state[key], widget_manager };
        // As anywidget does for each widget: its own copy of the small module.
        const { default: widget } = await import(url + "#" + state.name);
        closes.push(widget.render({ model, el }));
    }
    await Promise.all(closes);
    return document.body.innerText.trim();
}"""


@pytest.fixture
def display(page):
    page.set_content("<body></body>")
    loader = (browser.HERE / "loader.js").read_text()

    def display(*states: dict[str, str]) -> str:
        return page.evaluate(DISPLAY, [loader, list(states)])

    return display


def widget(name: str, code: str = CODE, digest: str = "1") -> dict[str, str]:
    return {"name": name, "code": code, "digest": digest}


def test_two_widgets_in_a_page_import_the_code_once(display, page):
    assert display(widget("first"), widget("second")).split() == ["first", "second"]
    assert display(widget("third")).split()[-1] == "third"
    assert page.evaluate("imports") == 1


def test_another_version_of_the_code_is_imported_beside_the_first(display, page):
    display(widget("old"), widget("new", digest="2"))
    assert page.evaluate("imports") == 2


def test_a_closed_widget_whose_code_is_gone_breaks_nothing(display, page):
    assert display(widget("closed", code="")) == ""
    assert display(widget("next")) == "next"


def test_code_that_fails_is_imported_again_for_the_next_widget(display, page):
    failed = "new Map([['1', Promise.reject(Error('no memory'))]])"
    page.evaluate(f"globalThis.labelAnything = {failed}; labelAnything.get('1').catch(() => 0)")
    assert display(widget("first"), widget("second")).split() == ["first", "second"]
    assert page.evaluate("imports") == 1


def test_code_that_never_arrives_is_imported_again_after_some_seconds(page):
    page.clock.install()
    page.set_content("<body></body>")
    page.evaluate("globalThis.labelAnything = new Map([['1', new Promise(() => {})]])")
    loader = (browser.HERE / "loader.js").read_text()
    start = f"(args) => {{ ({DISPLAY})(args).then((text) => {{ window.shown = text; }}); }}"
    page.evaluate(start, [loader, [widget("first")]])
    while not page.evaluate("window.shown"):
        page.clock.fast_forward(2000)
    assert page.evaluate("shown") == "first"


def test_a_view_that_is_closed_leaves_nothing_in_its_element(display, page):
    display(widget("first"))
    page.evaluate("closes[0].then((close) => close())")
    assert page.evaluate("[lastClosed, document.body.innerText.trim()]") == ["first", ""]


def test_code_and_style_leave_the_state_of_a_closed_widget():
    from la.widgets import PromptEditor

    editor = PromptEditor()
    assert editor.code == browser.MODULE
    layout = editor.layout
    editor.close()
    assert editor.code == editor._css == "" and layout.comm is None
