"""Nothing that was drawn is lost: a real JupyterLab, whose kernel, page and browser end at will."""

import base64
import json
import os
import random
import shutil
import signal
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_lab import SETUP, Notebook

from tests.conftest import FLAGS

pytestmark = pytest.mark.browser

KINDS = ("kernel", "page", "notebook", "browser")
EDITOR = """
supports, queries = [photo(400, 300), photo(300, 300, 1)], [photo(400, 300, 2)]
editor = PromptEditor(supports, queries, ["dog", "cat"], predictor=predictor)
editor
"""
ROUNDS = int(os.environ.get("LA_KILLS", "4"))
STEPS = 3 * ROUNDS  # prompts of the whole session
SEED = int(os.environ.get("LA_SEED", "0"))
KERNEL = "jupyterapp.shell.currentWidget.sessionContext.session?.kernel"
DIALOG = ".jp-Dialog button.jp-mod-accept"


class Desktop:
    """A person's browser, with a profile that survives it, and one notebook in it."""

    def __init__(self, browser, lab, folder) -> None:
        self.type, self.folder = browser.browser_type, folder
        self.url = lab.write(f"{folder.name}.ipynb", SETUP, EDITOR)
        self.open()

    def open(self) -> None:
        path = shutil.which("chromium") or shutil.which("google-chrome")
        size = {"width": 1400, "height": 1000}
        self.context = self.type.launch_persistent_context(
            str(self.folder / "profile"), executable_path=path, args=FLAGS, viewport=size
        )
        self.notebook = Notebook(self.context, self.url)

    def draw(self, x: float, y: float) -> None:
        """A point on the support image, of whatever editor is displayed."""
        self.notebook.click(x, y)

    def draw_without_kernel(self, x: float, y: float) -> None:
        """As `draw`, though JupyterLab says at any moment, in a dialog, that the kernel died."""
        page = self.notebook.page
        points = "document.querySelector('.la-thumb').ariaLabel"
        before = page.evaluate(points)
        while page.evaluate(points) == before:
            self.accept()
            self.draw(x, y)

    def accept(self) -> None:
        """Close the dialog, if there is one."""
        dialog = self.notebook.page.locator(DIALOG)
        if dialog.count():
            dialog.first.click()

    def end(self, kind: str) -> None:
        """End one thing without warning."""
        page = self.notebook.page
        if kind == "kernel":
            page.evaluate(
                """() => {
                    window.restarts = [];
                    const context = jupyterapp.shell.currentWidget.sessionContext;
                    context.statusChanged.connect((_, status) => restarts.push(status));
                }"""
            )
            os.kill(int(self.notebook.pid), signal.SIGKILL)
        elif kind == "browser":
            self.context.close()
        elif kind == "page":
            page.reload()
        else:
            page.close()

    def resume(self, kind: str) -> None:
        """Open what was ended, and run the cells again."""
        if kind == "kernel":
            # The server notices after 3 s or more. Cells that are run before never answer.
            page = self.notebook.page
            page.wait_for_function("restarts.includes('autorestarting')")
            page.wait_for_function(f"{KERNEL}?.status === 'idle'")
            self.accept()
            self.notebook.run_all()
        elif kind == "browser":
            self.open()
        else:
            if kind == "page":
                self.notebook.page.close()
            self.notebook = Notebook(self.context, self.url)
        self.notebook.pid = self.notebook.python("import os; print(os.getpid())")


@pytest.fixture
def desktop(browser, lab, tmp_path):
    desktop = Desktop(browser, lab, tmp_path)
    desktop.notebook.pid = desktop.notebook.python("import os; print(os.getpid())")
    yield desktop
    desktop.context.close()


def test_whatever_ends_at_any_moment_nothing_drawn_is_lost(desktop):
    rng = random.Random(SEED)
    drawn: list[list[float]] = []
    kinds = [KINDS[number % 4] for number in range(ROUNDS)]
    rng.shuffle(kinds)
    moments = sorted(rng.sample(range(1, STEPS + 1), ROUNDS))
    for number, (kind, moment) in enumerate(zip(kinds, moments, strict=True)):
        while len(drawn) < moment:
            spot = [20 + 18.0 * (len(drawn) % 20), 30 + 40.0 * (len(drawn) // 20)]
            desktop.draw(*spot)
            drawn.append(spot)
            desktop.notebook.page.wait_for_timeout(rng.choice([0, 0, 30, 300]))
        desktop.end(kind)
        if kind == "kernel":  # a person goes on to draw before noticing
            spot = [20 + 18.0 * (len(drawn) % 20), 30 + 40.0 * (len(drawn) // 20)]
            desktop.draw_without_kernel(*spot)
            drawn.append(spot)
        desktop.resume(kind)
        expected = f"len(editor.prompts) == {len(drawn)}"
        desktop.notebook.until(expected)
        assert np.allclose([p["pts"][0] for p in desktop.notebook.prompts], drawn, atol=1), kind
        print(f"{number + 1}. {kind} ended; {len(drawn)} prompts are there", flush=True)


def test_ctrl_s_saves_the_notebook_with_the_newest_picture_and_the_live_view_hides_it(desktop):
    notebook = desktop.notebook
    page = notebook.page
    assert page.locator("img.jp-needs-light-background").is_hidden()
    before = page.locator("img.jp-needs-light-background").get_attribute("src")
    page.locator(".la-root").first.focus()
    page.keyboard.press("b")
    notebook.drag((40, 40), (300, 40), (300, 200), steps=8)
    changed = """(before) => {
        const picture = document.querySelector("img.jp-needs-light-background");
        return picture.src !== before;
    }"""
    page.wait_for_function(changed, arg=before)
    page.keyboard.press("Control+s")
    path = desktop.folder.name + ".ipynb"
    dirty = "() => !jupyterapp.shell.currentWidget.context.model.dirty"
    page.wait_for_function(dirty)
    folder = notebook.python("import os; print(os.getcwd())").strip()
    cells = json.loads(Path(folder, path).read_text())["cells"]
    pictures = [o["data"]["image/png"] for o in cells[1]["outputs"] if "image/png" in o["data"]]
    (picture,) = pictures
    shown = Image.open(BytesIO(base64.b64decode(picture))).convert("RGB")
    orange = np.abs(np.asarray(shown, int) - [230, 159, 0]).sum(2) < 60
    assert shown.width > 300 and orange.sum() > 200  # the stroke of the first class


def test_running_the_cell_again_leaks_neither_editors_nor_memory(desktop):
    notebook, page = desktop.notebook, desktop.notebook.page
    runs = int(os.environ.get("LA_RERUNS", "8"))
    desktop.draw(50, 60)
    notebook.settled(1)
    count = """
from ipywidgets.widgets.widget import _instances
alive = [w for w in _instances.values() if isinstance(w, PromptEditor)]
kilobytes = int(open('/proc/self/status').read().split('VmRSS:')[1].split()[0])
print(len(alive), kilobytes)"""
    measured = []
    chromium = page.context.new_cdp_session(page)
    for _ in range(runs):
        notebook.run_all()
        alive, kilobytes = map(int, notebook.python(count).split())
        chromium.send("HeapProfiler.collectGarbage")
        heap = chromium.send("Runtime.getHeapUsage")["usedSize"]
        measured.append((alive, kilobytes / 1e3, heap / 1e6))
    print("editors, MB of the kernel, MB of the page:", measured[2], measured[-1])
    assert all(1 <= alive <= 2 for alive, _, _ in measured)
    assert len(notebook.prompts) == 1
    assert measured[-1][1] < 1.1 * measured[2][1]
    assert measured[-1][2] < 1.1 * measured[2][2]


def test_a_notebook_without_its_kernel_shows_the_picture_and_no_error(desktop):
    notebook, page = desktop.notebook, desktop.notebook.page
    desktop.draw(50, 60)
    notebook.settled(1)
    page.keyboard.press("Control+s")
    page.wait_for_function("() => !jupyterapp.shell.currentWidget.context.model.dirty")
    page.evaluate("jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.goto(desktop.url)
    picture = page.locator("img.jp-needs-light-background")
    picture.wait_for()
    page.get_by_text("model not found").wait_for(state="attached")
    assert picture.is_visible()
    assert page.get_by_text("model not found").is_hidden()
