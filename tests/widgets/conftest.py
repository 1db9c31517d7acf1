"""A browser, and a real JupyterLab."""

import os
import shutil

import pytest

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="session")
def browser():
    """Chromium; without it the tests fail, unless LA_NO_BROWSER=1 says that this is wanted."""
    if os.environ.get("LA_NO_BROWSER") == "1":
        pytest.skip("LA_NO_BROWSER=1")
    found = [shutil.which(n) for n in ("chromium", "chromium-browser", "google-chrome")]
    path = next((p for p in found if p), None)
    if path is None:
        pytest.fail("no chromium on PATH: apt install chromium, or set LA_NO_BROWSER=1 to skip")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    """A page that fails the test if a script in it raised."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.set_default_timeout(15_000)
    yield page
    context.close()
    assert not errors
