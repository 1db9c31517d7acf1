"""Drawing in the page: handles, the keyboard alone, touch, stylus, many classes, the help sheet."""

import itertools
from typing import Protocol

import numpy as np
import pytest
from playwright.sync_api import Page
from test_editor_page import Desk, state
from widget_page import photo

from la.colours import PALETTE, _oklab

pytestmark = pytest.mark.browser


@pytest.fixture
def desk(page) -> Desk:
    return Desk(page, state())


def test_a_right_click_is_a_negative_point_with_every_tool(desk):
    for key in "vpnrbel":
        desk.press(key)
        desk.click(60, 60, button="right")
    assert [(p["type"], p["label"]) for p in desk.prompts] == [("point", -1)] * 7
    assert desk.canvas.get_attribute("data-jp-suppress-context-menu") is not None
    desk.press("p", "Escape")
    desk.click(90, 60, button="right")
    desk.click(120, 60)
    assert [p["label"] for p in desk.prompts[-2:]] == [-1, 1]


def test_plain_keys_stay_in_the_editor_and_foreign_control_keys_do_not(desk):
    """JupyterLab skips an event whose target has the attribute when the event reaches it."""
    desk.canvas.focus()
    desk.page.evaluate(
        """() => {
            window.open_to_lab = [];
            document.addEventListener("keydown", (e) => {
                const shut = e.target.closest("[data-lm-suppress-shortcuts]");
                if (!shut && e.key !== "Control") open_to_lab.push(e.key);
            }, true);
        }"""
    )
    desk.press("a", "d", "d", "x", "Shift+M", "Control+z", "Control+Enter", "Delete", "ArrowDown")
    assert desk.page.evaluate("open_to_lab") == []
    desk.press("Control+s", "a")
    assert desk.page.evaluate("open_to_lab") == ["s"]


@pytest.mark.parametrize(
    ("grip", "to", "box"),
    [
        ((120, 100), (140, 150), [[20, 30], [140, 150]]),
        ((20, 30), (10, 12), [[10, 12], [120, 100]]),
        ((70, 30), (75, 44), [[20, 44], [120, 100]]),
        ((120, 65), (150, 70), [[20, 30], [150, 100]]),
        ((20, 30), (160, 140), [[120, 100], [160, 140]]),  # beyond the opposite corner
        ((45, 30), (55, 50), [[30, 50], [130, 120]]),  # the line between two handles moves it
    ],
)
def test_a_box_is_resized_at_its_handles(desk, grip, to, box):
    desk.press("r")
    desk.drag((20, 30), (120, 100))
    desk.press("v")
    desk.click(40, 100)
    desk.drag(grip, to, steps=4)
    assert desk.prompts[0]["pts"] == box
    desk.press("Control+z")
    assert desk.prompts[0]["pts"] == [[20, 30], [120, 100]]


def test_a_corner_of_a_polygon_moves_alone(desk):
    corners = [[50, 50], [120, 60], [80, 120]]
    desk.press("l")
    for corner in corners:
        desk.click(*corner)
        desk.page.wait_for_timeout(20)
    desk.press("Enter", "v")
    desk.click(80, 80)
    desk.drag((120, 60), (150, 40), steps=3)
    assert desk.prompts[0]["pts"] == [[50, 50], [150, 40], [80, 120]]


def test_a_point_is_picked_before_the_box_and_the_area_above_it(desk):
    desk.press("p")
    desk.click(80, 80)
    desk.press("r")
    desk.drag((80, 50), (200, 110))
    desk.press("l")
    desk.drag((50, 50), (130, 50), (130, 120), (50, 120), steps=5)
    desk.press("v")
    for kind, at in (("point", (80, 80)), ("box", (80, 100)), ("lasso", (60, 60))):
        desk.click(*at)
        before = [p["type"] for p in desk.prompts]
        desk.press("Delete")
        assert before.count(kind) - [p["type"] for p in desk.prompts].count(kind) == 1, kind


def test_everything_is_drawn_by_keyboard_alone(desk):
    step = 5  # screen pixels, at 100 % also of the image
    desk.page.get_by_role("application").focus()
    desk.press("p", "ArrowRight", "ArrowDown", "Space", "n", "Shift+ArrowLeft", "Enter")
    desk.press("r", "Space", "Shift+ArrowRight", "Shift+ArrowDown", "Space")
    desk.press("2", "b", "Enter", *["ArrowUp"] * 4, "Enter")
    desk.press("l", "Space", "Shift+ArrowLeft", "Space", "Shift+ArrowUp", "Space", "Enter")
    x, y = 160 + step, 120 + step
    point, negative, box, stroke, lasso = desk.prompts
    assert (point["pts"], point["label"]) == ([[x, y]], 1)
    assert (negative["pts"], negative["label"]) == ([[x - 50, y]], -1)
    assert box["pts"] == [[x - 50, y], [x, y + 50]]
    assert stroke["pts"] == [[x, y + 50 - step * i] for i in range(5)]
    assert stroke["cls"] == 2 and len(lasso["pts"]) == 3
    desk.press("v", "Escape", "ArrowUp", "ArrowDown", "Space")  # pick up the polygon's last corner
    desk.press("q", "p", "Space")
    assert desk.prompts[-1]["img"] == 2  # the other picture is the query


def test_a_prompt_is_moved_by_keyboard_alone(desk):
    desk.canvas.focus()
    desk.press("p", "ArrowRight", "Space", "v", "Space", "Shift+ArrowRight", "Space")
    assert desk.prompts[0]["pts"] == [[160 + 5 + 50, 120]]


def test_the_crosshair_stays_in_sight_when_the_image_is_zoomed(desk):
    desk.zoom("8")
    desk.canvas.focus()
    desk.press(*["Shift+ArrowRight"] * 40)
    x, _ = desk.client(320, 120)
    box = desk.canvas.bounding_box()
    assert box["x"] < x < box["x"] + box["width"]


def test_the_help_sheet_lists_every_key_and_closes_with_escape(desk):
    desk.canvas.focus()
    desk.press("?")
    sheet = desk.page.get_by_role("dialog", name="Keys of the editor")
    text = sheet.inner_text()
    for key in [*"VPNRBEL[]/T.FHW?", "Esc", "Ctrl+Z", "Ctrl+Y", "Shift+arrows", "Space", "Del"]:
        assert key in text.split(), key
    desk.press("Escape")
    assert sheet.count() == 0
    desk.press("b")
    assert desk.canvas.get_attribute("data-tool") == "brush"


class Touched(Protocol):
    """A page with an editor, and where a pixel of its image is in the page."""

    page: Page

    def client(self, x: float, y: float) -> tuple[float, float]: ...


class Fingers:
    """Touches of a page, sent as a touch screen sends them.

    The page receives them, and the click of a tap, some time after they were sent:
    each method returns only when the page has handled what it did.
    """

    def __init__(self, desk: Touched) -> None:
        self.desk = desk
        self.session = desk.page.context.new_cdp_session(desk.page)
        desk.page.evaluate(
            """() => {
                window.lifted = false;
                addEventListener("touchend", (e) => { window.lifted = !e.touches.length; });
            }"""
        )

    def send(self, kind: str, *spots: tuple[float, float]) -> None:
        points = [
            {"x": x, "y": y, "id": number}
            for number, (x, y) in enumerate(self.desk.client(*spot) for spot in spots)
        ]
        self.session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        if kind == "touchEnd":
            self.desk.page.wait_for_function("lifted")
            self.desk.page.evaluate("window.lifted = false")

    def tap(self, role: str, name: str) -> None:
        button = self.desk.page.get_by_role(role, name=name, exact=True).element_handle()
        button.evaluate("(b) => b.addEventListener('click', () => { b.dataset.clicked = 1; })")
        button.tap()
        self.desk.page.wait_for_function("(b) => b.dataset.clicked", arg=button)
        button.evaluate("(b) => { delete b.dataset.clicked; }")
        self.desk.page.evaluate("window.lifted = false")

    def drag(self, *spots: tuple[float, float]) -> None:
        self.send("touchStart", spots[0])
        for spot in spots[1:]:
            self.send("touchMove", spot)
        self.send("touchEnd")


@pytest.fixture
def touched(browser):
    context = browser.new_context(viewport={"width": 800, "height": 1000}, has_touch=True)
    page = context.new_page()
    page.set_default_timeout(60_000)
    yield Desk(page, state())
    context.close()


def test_a_whole_session_by_touch_alone(touched):
    page, fingers = touched.page, Fingers(touched)
    fingers.drag((50, 60))
    fingers.tap("button", "Not here")
    fingers.drag((90, 60))
    fingers.tap("button", "Box")
    fingers.drag((20, 30), (60, 60), (120, 100))
    fingers.tap("button", "Brush")
    fingers.tap("radio", "cat")
    fingers.drag((30, 150), (60, 160), (90, 150))
    assert [(p["type"], p["cls"]) for p in touched.prompts] == [
        ("point", 1),
        ("point", 1),
        ("box", 1),
        ("brush", 2),
    ]
    fingers.tap("button", "Rename cat")
    page.get_by_label("New name of cat").fill("lynx")
    page.get_by_label("New name of cat").press("Enter")
    page.get_by_label("Name of a new class").fill("elk")
    fingers.tap("button", "Add class")
    assert touched.get("classes") == ["dog", "lynx", "elk"]
    fingers.tap("button", "Remove elk and its prompts")
    fingers.tap("button", "Select")
    fingers.drag((22, 60))
    fingers.drag((120, 100), (125, 105), (140, 120))
    assert touched.prompts[2]["pts"] == [[20, 30], [140, 120]]
    fingers.tap("button", "Delete the selected or last prompt (Del)")
    fingers.tap("button", "Undo (Ctrl+Z)")
    assert len(touched.prompts) == 4 and touched.get("classes") == ["dog", "lynx"]


def test_a_tap_soon_after_a_fast_stroke_is_not_swallowed_as_the_end_of_a_fling(touched):
    fingers = Fingers(touched)
    for wait in (0, 50, 200):  # milliseconds
        fingers.tap("button", "Box")
        fingers.drag((20, 30), (60, 60), (120, 100))
        touched.page.wait_for_timeout(wait)
        fingers.tap("button", "Brush")
        assert touched.canvas.get_attribute("data-tool") == "brush"


def test_two_fingers_zoom_and_move_and_draw_nothing(touched):
    fingers = Fingers(touched)
    for key in "pbrl":
        touched.press(key)
        touched.press("f")
        scale, x, y = map(float, touched.canvas.get_attribute("data-view").split(","))
        fingers.send("touchStart", (100, 100))
        fingers.send("touchStart", (100, 100), (140, 100))
        ends = [touched.client(*spot) for spot in ((80, 120), (160, 120))]
        points = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(ends)]
        move = {"type": "touchMove", "touchPoints": points}
        fingers.session.send("Input.dispatchTouchEvent", move)
        fingers.send("touchEnd")
        zoomed, _, _ = map(float, touched.canvas.get_attribute("data-view").split(","))
        assert zoomed == pytest.approx(2 * scale, rel=0.05)
        under = [
            np.subtract(touched.client(*spot), end)
            for spot, end in zip(((100, 100), (140, 100)), ends, strict=True)
        ]
        assert np.abs(under).max() < 3  # what lay under a finger still does
    assert touched.prompts == []


def test_the_other_end_of_a_stylus_rubs_out_and_a_palm_moves_the_image(desk):
    desk.press("b")
    desk.drag((40, 40), (200, 40), steps=5)
    script = """(events) => {
        const canvas = document.querySelector("canvas[aria-label='Support image']");
        canvas.setPointerCapture = () => {};
        for (const [type, pointerType, button, clientX, clientY] of events) {
            const init = { pointerType, button, pointerId: 5, clientX, clientY };
            canvas.dispatchEvent(new PointerEvent(type, init));
        }
    }"""
    a, b = desk.client(60, 40), desk.client(120, 40)
    gesture = [["pointerdown", 5, a], ["pointermove", -1, b], ["pointerup", 5, b]]
    desk.page.evaluate(script, [[type_, "pen", button, *at] for type_, button, at in gesture])
    assert [p["erase"] for p in desk.prompts] == [False, True]
    before = desk.client(0, 0)
    desk.page.evaluate(script, [[type_, "touch", 0, *at] for type_, _, at in gesture])
    assert len(desk.prompts) == 2
    assert np.subtract(desk.client(0, 0), before) == pytest.approx(np.subtract(b, a), abs=1)


def many(n: int) -> list[str]:
    return [f"class {i}" for i in range(1, n + 1)]


def test_forty_classes_scroll_and_are_found_by_name(page):
    desk = Desk(page, state(classes=many(40)))
    box = page.get_by_role("radiogroup").bounding_box()
    assert box["height"] < 400
    desk.canvas.focus()
    desk.press("/")
    page.keyboard.type("ss 37")
    assert page.get_by_role("radio").count() == 1
    desk.press("Enter")
    assert page.get_by_role("radio").count() == 40
    chosen = page.get_by_role("radio", name="class 37")
    assert chosen.get_attribute("aria-checked") == "true"
    inside = chosen.bounding_box()["y"] - page.get_by_role("radiogroup").bounding_box()["y"]
    assert 0 <= inside < box["height"]
    desk.press("p")
    desk.click(50, 50)
    assert desk.prompts[0]["cls"] == 37


def test_no_two_of_forty_classes_look_alike(page):
    desk = Desk(page, state(photo(320, 240).point(lambda _: 128), classes=many(40)))
    tiles = desk.page.evaluate(
        """() => [...document.querySelectorAll(".la-swatch canvas")].map((c) =>
            [...c.getContext("2d").getImageData(0, 0, 12, 12).data])"""
    )
    assert len(tiles) == 40 and len({tuple(tile) for tile in tiles}) == 40
    places = _oklab(np.array([list(bytes.fromhex(colour[1:])) for colour in PALETTE[:40]]))
    for one, other in itertools.combinations(places, 2):
        assert np.linalg.norm(one - other) > 0.05


def test_the_pattern_of_a_class_is_that_of_its_masks(page):
    """Class 2 has rising lines: along a falling diagonal of its mask light and dark take turns."""
    grey = photo(320, 240).point(lambda _: 128)
    lasso = {"img": 0, "type": "lasso", "pts": [[20, 20], [140, 20], [140, 140], [20, 140]]}
    spread = []
    for cls in (1, 2):
        desk = Desk(page, state(grey, prompts=[lasso | {"cls": cls, "erase": False}]))
        shades = [sum(desk.pixel(40 + i, 40 + i)[:3]) for i in range(24)]
        spread.append(max(shades) - min(shades))
    assert spread[0] < 10 and spread[1] > 40


def test_at_900_pixels_both_pictures_fill_their_panes_side_by_side_and_the_editor_fits(page):
    page.set_viewport_size({"width": 900, "height": 800})
    desk = Desk(page, state())
    query = page.locator("canvas[aria-label='Query image']").bounding_box()
    support = desk.canvas.bounding_box()
    view = page.locator("canvas[aria-label='Query image']").get_attribute("data-view")
    assert query["y"] == support["y"] and support["width"] > 300
    width = 160 * float(view.split(",")[0])  # of the photograph of 160 pixels, as displayed
    assert width == pytest.approx(query["width"] - 16, abs=1)
    root = page.locator(".la-root").bounding_box()
    assert root["y"] + root["height"] < 800


def test_tall_photographs_use_the_height_of_a_large_window(page):
    page.set_viewport_size({"width": 1900, "height": 1300})
    desk = Desk(page, state(photo(300, 400)))
    assert desk.canvas.bounding_box()["height"] > 900
    root = page.locator(".la-root").bounding_box()
    assert root["y"] + root["height"] < 1300


def test_full_screen_enlarges_the_editor_and_ends(page):
    page.set_viewport_size({"width": 1000, "height": 600})
    desk = Desk(page, state())
    before = desk.canvas.bounding_box()["height"]
    desk.canvas.focus()
    desk.press("w")
    page.wait_for_function("document.fullscreenElement?.matches('.la-root')")
    page.wait_for_function(
        "(h) => document.querySelector('.la-canvas').clientHeight > h + 50", arg=before
    )
    desk.press("w")
    page.wait_for_function("!document.fullscreenElement")
