"""A real JupyterLab in which the widgets' JavaScript takes longer than anywidget waits for it."""

import pytest
from test_lab import EDITOR, SETUP, Notebook

pytestmark = pytest.mark.browser

LATE = 5000  # ms; anywidget 0.11 gives a widget up after 2,000
DELAYED = """(() => {
    const address = URL.createObjectURL.bind(URL);
    const wait = `await new Promise((done) => setTimeout(done, LATE));\\n`;
    URL.createObjectURL = (blob) => {
        const isCode = blob.type === "text/javascript";
        return address(isCode ? new Blob([wait, blob], { type: blob.type }) : blob);
    };
})()""".replace("LATE", str(LATE))
DURING = """
from threading import Timer
drawn = [{"img": 0, "cls": 1, "type": "point", "pts": [[50, 60]], "label": 1}]
Timer(3, lambda: setattr(editor, "prompts", drawn)).start()
"""


@pytest.fixture
def notebook(browser, lab):
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.add_init_script(DELAYED)
    yield Notebook(context, lab.write("slow.ipynb", SETUP, EDITOR + DURING + "editor\n"))
    context.close()


def test_an_editor_whose_code_loads_slowly_misses_nothing(notebook):
    page = notebook.page
    page.wait_for_selector("[aria-label='support support-1.png, 1 prompt'] img")
    page.wait_for_selector("[aria-label='Query images'][data-labels]:not([data-labels=''])")
    notebook.click(150, 120)
    notebook.settled(2)
    notebook.wait_for_status("Segmented")
    page.wait_for_timeout(3500)  # until an editor without an answer would say so
    notebook.wait_for_status("Segmented")
    notebook.run_all()  # the new editor takes over, and its timer draws the first point alone
    page.wait_for_selector("[aria-label='support support-1.png, 1 prompt'] img")
    notebook.click(200, 120)
    notebook.settled(2)
    assert [prompt["pts"] for prompt in notebook.prompts] == [[[50, 60]], [[200, 120]]]
