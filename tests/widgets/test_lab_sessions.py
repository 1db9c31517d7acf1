"""A whole session in a real JupyterLab, by keyboard or by touch alone, up to the exported masks."""

import json

import pytest
from test_drawing_page import Fingers
from test_lab import SETUP, Notebook

pytestmark = [pytest.mark.browser, pytest.mark.slow]

EDITOR = """
supports, queries = [photo(400, 300)], [photo(400, 300, 2), photo(300, 200, 3)]
editor = PromptEditor(supports, queries, ["dog", "cat"], predictor=predictor)
editor
"""
STATES = "[editor.reviewed.get(entry['id']) for entry in editor.images]"
EXPORTED = "Masks of all images are in the folder masks"


@pytest.fixture
def notebook(browser, lab, request):
    """An editor in a folder of its own, because the session writes masks."""
    size = {"width": 1400, "height": 1000}
    has_touch = "touch" in request.node.name
    context = browser.new_context(viewport=size, has_touch=has_touch)
    folder = f"import os; os.makedirs({request.node.name!r}); os.chdir({request.node.name!r})"
    yield Notebook(context, lab.write(f"{request.node.name}.ipynb", f"{SETUP}\n{folder}", EDITOR))
    context.close()


def exported(notebook: Notebook) -> dict[str, set[str]]:
    """The classes that `masks.json` has of each photograph, by its name."""
    content = json.loads(notebook.python("print(open('masks/masks.json').read())"))
    names = {category["id"]: category["name"] for category in content["categories"]}
    found: dict[str, set[str]] = {}
    for image in content["images"]:
        own = [a for a in content["annotations"] if a["image_id"] == image["id"]]
        found[image["file_name"]] = {names[annotation["category_id"]] for annotation in own}
    return found


def check(notebook: Notebook) -> None:
    """Two classes are drawn, one photograph is accepted as predicted, one after a correction."""
    notebook.wait_for_status(EXPORTED)
    assert notebook.python(f"print({STATES})").strip() == "[None, 'accepted', 'accepted']"
    drawn = [(p["img"], p["cls"], p["type"]) for p in notebook.prompts]
    assert drawn == [
        (0, 1, "point"),
        (0, 2, "box"),
        (2, 1, "mask"),
        (2, 2, "mask"),
        (2, 2, "brush"),
    ]
    both = {"dog", "cat"}
    names = ("support-1.png", "query-2.png", "query-3.png")
    assert exported(notebook) == dict.fromkeys(names, both)


def tab_back_to(notebook: Notebook, name: str) -> None:
    """Move the focus backwards to the button of this name; the editor does not trap it."""
    named = """(name) => {
        const el = document.activeElement;
        return !!el.closest(".la-root") && (el.ariaLabel ?? el.textContent) === name;
    }"""
    for _ in range(100):
        if notebook.page.evaluate(named, name):
            return
        notebook.page.keyboard.press("Shift+Tab")
    pytest.fail(f"100 times Shift+Tab did not lead to {name}")


def test_a_whole_session_by_keyboard_alone(notebook):
    def press(*keys: str) -> None:
        for key in keys:
            notebook.page.keyboard.press(key)

    notebook.page.get_by_role("application", name="Prompt editor").focus()
    press("p", "ArrowLeft", "Shift+ArrowUp", "Space")
    press("2", "r", "Space", "Shift+ArrowRight", "Shift+ArrowDown", "Space")
    notebook.settled(2)
    notebook.wait_for_status("Segmented query-2.png")
    press("y")
    notebook.wait_for_status("Segmented query-3.png")
    press("c")
    notebook.settled(4)
    press("b", "ArrowRight", "Space", "Shift+ArrowRight", "Space")
    notebook.settled(5)
    press("y")
    notebook.until("list(editor.reviewed.values()) == ['accepted', 'accepted']")
    tab_back_to(notebook, "Export")
    press("Enter")
    check(notebook)


class Pane:
    """One picture of the editor, to be touched."""

    def __init__(self, notebook: Notebook, label: str) -> None:
        self.notebook, self.page, self.label = notebook, notebook.page, label

    def client(self, x: float, y: float) -> tuple[float, float]:
        return self.notebook.spot(x, y, self.label)


def test_a_whole_session_by_touch_alone(notebook):
    fingers = Fingers(Pane(notebook, "Support image"))
    on_query = Fingers(Pane(notebook, "Query image"))
    fingers.tap("button", "Point")
    fingers.drag((80, 90))
    fingers.tap("radio", "cat")
    fingers.tap("button", "Box")
    fingers.drag((200, 100), (260, 150), (320, 220))
    notebook.settled(2)
    notebook.wait_for_status("Segmented query-2.png")
    fingers.tap("button", "Accept")
    notebook.wait_for_status("Segmented query-3.png")
    fingers.tap("button", "Correct")
    notebook.settled(4)
    on_query.drag((200, 40), (220, 60), (240, 90))
    notebook.settled(5)
    fingers.tap("button", "Accept")
    notebook.until("list(editor.reviewed.values()) == ['accepted', 'accepted']")
    fingers.tap("button", "Export")
    check(notebook)
