"""`make readme-figures`: writes docs/editor.png, the editor with the example photographs."""

import shutil
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

import la
from la.widgets import PromptEditor
from la.widgets.page.browser import LONG_SIDE
from tests.conftest import FLAGS
from tests.widgets.widget_page import mount

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "editor.png"
SIZE = {"width": 1280, "height": 760}
NAMES = ("chromium", "chromium-browser", "google-chrome")


def main() -> None:
    """Take a picture of the editor in a page of its own, with what the model predicts."""
    path = next(path for path in map(shutil.which, NAMES) if path)
    content = example_state()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        page = browser.new_page(viewport=SIZE, device_scale_factor=1.5)
        mount(page, content)
        page.wait_for_selector(".la-strip[data-labels] >> nth=0", state="attached")
        page.wait_for_selector("[aria-label='Query images'] img")
        page.wait_for_function("document.querySelector('[data-labels]')?.dataset.labels !== ''")
        page.wait_for_timeout(500)  # fonts and photographs
        png = page.locator(".la-root").screenshot()
        browser.close()
    picture = Image.open(BytesIO(png)).convert("RGB").quantize(256)
    picture.save(PICTURE, optimize=True)


def example_state() -> dict:
    """What Python sends the page for the example photographs, once they are segmented."""
    editor = PromptEditor(predictor=la.Predictor(la.load("photos")))
    editor.load_photo_example()
    assert editor.wait(300)
    state = {name: getattr(editor, name) for name in editor.keys if not name.startswith("_")}
    photos = [place.photo for place in editor._placed]
    state["jpegs"] = {photo.id: photo.jpeg(LONG_SIDE) for photo in photos}
    state["status"] = {"state": "done", "text": ""}  # seconds of whatever machine this was
    editor.close()
    plain = (str, int, float, bool, list, dict, bytes)
    return {name: value for name, value in state.items() if isinstance(value, plain)}


if __name__ == "__main__":
    main()
