"""The editor's JavaScript alone, in a plain page beside a fake model: real mouse, real keys."""

import zlib

import numpy as np
import pytest
from widget_page import busy, colour, mount, photo

from la.colours import PALETTE
from la.predict.prompts.drawing import Drawing, DrawnImage
from la.predict.prompts.strokes import rasterize
from la.predict.prompts.vector_prompts import from_json, mask_prompt, to_json
from la.widgets.page.browser import LONG_SIDE
from la.widgets.photographs.photos import Photo, Placed

pytestmark = pytest.mark.browser


MODEL = {
    "name": "stub",
    "seconds": 0.31,
    "megabytes": 4,
    "licence": "MIT",
    "trained_on": "nothing",
    "here": True,
}


def state(*images, classes=("dog", "cat"), prompts=()) -> dict:
    images = images or (photo(320, 240), photo(200, 260, 1))
    shown = [
        Placed(Photo.open(image, f"photo-{i}.png"), "support") for i, image in enumerate(images)
    ]
    shown.append(Placed(Photo.open(photo(160, 120, 2), "query.png"), "query"))
    return {
        "view": "editor",
        "palette": list(PALETTE),
        "listed": [place.entry for place in shown],
        "added": [],
        "jpegs": {place.photo.id: place.photo.jpeg(LONG_SIDE) for place in shown},
        "classes": list(classes),
        "prompts": list(prompts),
        "query": len(images),
        "seq": 0,
        "ack": 0,
        "saved": 0,
        "file": "",
        "saved_before": 0,
        "status": {"state": "idle", "text": ""},
        "notice": "",
        "models": [MODEL, MODEL | {"name": "owner/large", "here": False, "megabytes": 381}],
        "overlay": {},
        "about": "stub",
    }


class Desk:
    """The editor in the page, spoken to in original pixels of the support image."""

    def __init__(self, page, content: dict) -> None:
        self.page = page
        mount(page, content)
        self.canvas = page.locator("canvas[aria-label='Support image']")
        page.wait_for_selector(".la-thumb img")
        self.zoom("1")

    def zoom(self, value: str) -> None:
        self.page.get_by_label("Zoom of Support image").select_option(value)

    def client(self, x: float, y: float) -> tuple[float, float]:
        scale, left, top = map(float, self.canvas.get_attribute("data-view").split(","))
        box = self.canvas.bounding_box()
        return box["x"] + left + x * scale, box["y"] + top + y * scale

    def click(self, x: float, y: float, **options) -> None:
        self.page.mouse.click(*self.client(x, y), **options)

    def drag(self, *spots, steps: int = 1) -> None:
        self.page.mouse.move(*self.client(*spots[0]))
        self.page.mouse.down()
        for spot in spots[1:]:
            self.page.mouse.move(*self.client(*spot), steps=steps)
        self.page.mouse.up()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def tool(self, label: str) -> None:
        self.page.get_by_role("button", name=label, exact=True).click()

    def get(self, name: str):
        return self.page.evaluate("(name) => model.get(name)", name)

    @property
    def images(self) -> list[dict]:
        return self.get("listed") + self.get("added")

    @property
    def prompts(self) -> list[dict]:
        return self.get("prompts")

    @property
    def status(self) -> str:
        return self.page.locator(".la-status").inner_text()

    def from_python(self, **changes) -> None:
        script = "(changes) => { for (const k in changes) model.set(k, changes[k]); }"
        self.page.evaluate(script, changes)

    def label_map(self, labels: np.ndarray, img: int) -> None:
        data = list(zlib.compress(labels.astype(np.uint8).tobytes(), 1))
        script = """([size, bytes, img]) => {
            const data = new DataView(new Uint8Array(bytes).buffer);
            model.set("overlay", { img, size, seq: 1, data });
        }"""
        self.page.evaluate(script, [list(labels.shape[::-1]), data, img])

    def pixel(self, x: float, y: float, label: str = "Support image") -> list[int]:
        return colour(self.page, x, y, label)


@pytest.fixture
def desk(page) -> Desk:
    return Desk(page, state())


def test_each_tool_makes_its_prompt(desk):
    desk.tool("Point")
    desk.click(50, 60)
    desk.page.keyboard.down("Alt")
    desk.click(70, 60)
    desk.page.keyboard.up("Alt")
    desk.click(90, 60, button="right")
    desk.press("n")
    desk.click(110, 60)
    desk.press("2", "r")
    desk.drag((20, 30), (120, 100))
    desk.press("b")
    desk.drag((30, 150), (60, 160), (90, 150))
    desk.press("e")
    desk.drag((60, 155), (70, 155))
    desk.press("l")
    desk.drag((200, 50), (250, 50), (250, 100), (200, 100), steps=5)
    kinds = [(p["type"], p["cls"], p.get("label"), p.get("erase")) for p in desk.prompts]
    assert kinds == [
        ("point", 1, 1, None),
        ("point", 1, -1, None),
        ("point", 1, -1, None),
        ("point", 1, -1, None),
        ("box", 2, None, None),
        ("brush", 2, None, False),
        ("brush", 2, None, True),
        ("lasso", 2, None, False),
    ]
    images = [DrawnImage(i["file_name"], i["width"], i["height"]) for i in desk.images]
    checked = Drawing(tuple(images), ("dog", "cat"), from_json(desk.prompts))
    assert to_json(checked.prompts) == desk.prompts


@pytest.mark.parametrize("zoom", ["1", "3"])
def test_a_box_is_exact_to_the_pixel(desk, zoom):
    desk.zoom(zoom)
    desk.press("r")
    scale, left, top = map(float, desk.canvas.get_attribute("data-view").split(","))
    inside = (max(0, -left / scale), max(0, -top / scale))
    x, y = round(inside[0] + 13), round(inside[1] + 17)
    desk.drag((x, y), (x + 61, y + 43))
    desk.drag((x + 90, y + 80), (x + 70, y + 50))  # from the lower right
    assert desk.prompts[0]["pts"] == [[x, y], [x + 61, y + 43]]
    assert desk.prompts[1]["pts"] == [[x + 70, y + 50], [x + 90, y + 80]]


def test_the_canvas_measures_what_the_mouse_measures(desk):
    sides = "(e) => [e.clientWidth, e.clientHeight]"
    box = desk.canvas.bounding_box()
    assert desk.canvas.evaluate(sides) == pytest.approx([box["width"], box["height"]], abs=0.5)


@pytest.mark.parametrize("tool", ["r", "b", "l"])
def test_a_release_outside_the_canvas_keeps_the_prompt_clamped(desk, tool):
    desk.press(tool)
    desk.drag((300, 200), (315, 190), (500, 60), (900, 600), steps=6)
    (prompt,) = desk.prompts
    xs, ys = np.array(prompt["pts"]).T
    assert xs.max() == 320 and ys.max() == 240 and xs.min() >= 0 and ys.min() >= 0


def test_a_stroke_of_60_steps_arrives_whole(desk):
    desk.press("b")
    desk.drag((20, 20), (260, 200), steps=60)
    (prompt,) = desk.prompts
    assert len(prompt["pts"]) == 61
    assert prompt["pts"][0] == [20, 20] and prompt["pts"][-1] == [260, 200]


def test_a_drawn_mask_is_the_one_that_python_makes(page):
    black = photo(320, 240).point(lambda _: 0)
    desk = Desk(page, state(black))
    page.get_by_label("Opacity").evaluate(
        "(e) => { e.value = 1; e.dispatchEvent(new Event('input')) }"
    )
    desk.press("b")
    desk.drag((40, 40), (90, 120), (150, 60), (270, 200), steps=12)
    desk.press("[", "[", "e")
    desk.drag((100, 30), (120, 180), steps=12)
    desk.press("l")
    desk.drag((180, 40), (300, 50), (280, 120), (200, 30), (220, 110), steps=8)
    shown = np.array(
        page.evaluate(
            """() => {
                const canvas = document.querySelector("canvas[aria-label='Support image']");
                const [, x, y] = canvas.dataset.view.split(",").map(Number);
                const data = canvas.getContext("2d").getImageData(x, y, 320, 240).data;
                return [...data].filter((_, i) => i % 4 === 0);
            }"""
        )
    ).reshape(240, 320)
    mask = rasterize(from_json(desk.prompts), (240, 320))
    shown = shown > 230 / 4  # of a pixel half covered the black outline takes another half
    both, either = shown & mask, shown | mask
    assert mask.sum() > 5000 and both.sum() / either.sum() >= 0.99


def test_undo_all_and_redo_all_of_50_mixed_prompts_change_nothing(desk):
    rng = np.random.default_rng(0)
    keys = ["p", "n", "r", "b", "l"]
    for i in range(50):
        desk.press(keys[i % 5], str(1 + i % 2))
        x, y = rng.integers(5, 180, 2).tolist()
        if keys[i % 5] in "pn":
            desk.click(x, y)
        else:
            desk.drag((x, y), (x + 30, y + 4), (x + 40, y + 30), steps=3)
    made = desk.prompts
    assert len(made) == 50
    desk.press(*["Control+z"] * 50)
    assert (
        desk.prompts == [] and desk.page.locator("[aria-label^=Undo][aria-disabled=true]").count()
    )
    desk.press(*["Control+y"] * 25, *["Control+Shift+Z"] * 25)
    assert desk.prompts == made
    assert desk.page.locator("[aria-label^=Redo][aria-disabled=true]").count()


def test_a_lasso_of_clicked_corners_closes_with_enter_and_goes_with_escape(desk):
    desk.press("l")
    for corner in ((50, 50), (120, 60), (80, 120)):
        desk.click(*corner)
        desk.page.wait_for_timeout(20)
    assert desk.prompts == []
    desk.press("Enter")
    assert desk.prompts[0]["pts"] == [[50, 50], [120, 60], [80, 120]]
    desk.click(150, 150)
    desk.press("Escape", "Enter")
    assert len(desk.prompts) == 1


def test_a_prompt_is_selected_moved_and_deleted(desk):
    desk.press("p")
    desk.click(50, 50)
    desk.click(150, 100)
    desk.press("v")
    desk.drag((50, 50), (60, 70), steps=4)
    assert desk.prompts[0]["pts"] == [[60, 70]]
    desk.press("Delete")
    assert [p["pts"] for p in desk.prompts] == [[[150, 100]]]
    desk.press("Control+z", "Control+z")
    assert desk.prompts[0]["pts"] == [[50, 50]]


def test_delete_without_a_selection_takes_the_last_and_clear_takes_this_image(desk):
    desk.press("p")
    desk.click(50, 50)
    desk.click(80, 80)
    desk.press("Delete")
    assert len(desk.prompts) == 1
    desk.page.get_by_label("support photo-1.png, 0 prompts").click()
    desk.click(20, 20)
    desk.page.get_by_role("button", name="Clear this image").click()
    assert [p["img"] for p in desk.prompts] == [0]


def test_classes_are_added_renamed_and_removed_with_their_prompts(desk):
    page = desk.page
    desk.press("p", "2")
    desk.click(50, 50)
    page.get_by_label("Name of a new class").fill("<img src=x onerror=alert(1)>")
    page.get_by_label("Name of a new class").press("Enter")
    assert desk.get("classes") == ["dog", "cat", "<img src=x onerror=alert(1)>"]
    assert page.locator(".la-class span", has_text="<img src=x").count() == 1
    assert page.locator(".la-class img").count() == 0
    desk.click(90, 90)
    page.get_by_role("radio", name="dog").dblclick()
    page.get_by_label("New name of dog").fill("wolf")
    page.get_by_label("New name of dog").press("Enter")
    assert desk.get("classes")[0] == "wolf"
    page.get_by_role("radio", name="cat").hover()
    page.get_by_label("Remove cat and its prompts").click()
    assert desk.get("classes") == ["wolf", "<img src=x onerror=alert(1)>"]
    assert [p["cls"] for p in desk.prompts] == [2]
    page.get_by_role("application").focus()
    desk.press("Control+z")
    assert desk.get("classes")[1] == "cat" and [p["cls"] for p in desk.prompts] == [2, 3]


def test_the_focus_stays_in_the_editor_when_a_control_is_redrawn(desk):
    for label in (
        "Hide cat",
        "Undo (Ctrl+Z)",
        "Clear this image",
        "support photo-1.png, 0 prompts",
    ):
        desk.press("p")
        desk.click(40, 40)
        desk.page.get_by_label(label, exact=True).click()
        assert desk.page.evaluate("document.activeElement.closest('.la-root') !== null"), label
    desk.page.get_by_role("radio", name="dog").click()
    assert desk.page.evaluate("document.activeElement.getAttribute('aria-label')") == "dog"


def test_two_classes_of_one_name_are_refused_with_a_sentence(desk):
    desk.page.get_by_label("Name of a new class").fill("dog")
    desk.page.get_by_label("Name of a new class").press("Enter")
    assert desk.status == "Two classes need two names." and desk.get("classes") == ["dog", "cat"]


def test_typing_a_name_draws_nothing_and_picks_no_tool(desk):
    field = desk.page.get_by_label("Name of a new class")
    field.press_sequentially("bell 2h")
    assert field.input_value() == "bell 2h"
    assert desk.canvas.get_attribute("data-tool") == "point"


def test_ctrl_wheel_zooms_at_the_pointer_and_a_plain_wheel_does_not(desk):
    before = desk.canvas.get_attribute("data-view")
    spot = desk.client(100, 80)
    desk.page.mouse.move(*spot)
    desk.page.mouse.wheel(0, 120)
    assert desk.canvas.get_attribute("data-view") == before
    desk.page.keyboard.down("Control")
    desk.page.mouse.wheel(0, -240)
    desk.page.keyboard.up("Control")
    desk.page.wait_for_function(
        "(v) => document.querySelector('.la-canvas').dataset.view !== v", arg=before
    )
    assert np.abs(np.subtract(desk.client(100, 80), spot)).max() <= 1.5
    desk.canvas.hover()
    desk.press("p", "f")
    assert float(desk.canvas.get_attribute("data-view").split(",")[0]) > 1


def test_space_drag_pans_and_draws_nothing(desk):
    before = desk.client(0, 0)
    desk.click(10, 10)
    desk.page.keyboard.down("Space")
    desk.drag((100, 100), (130, 80), steps=3)
    desk.page.keyboard.up("Space")
    assert np.subtract(desk.client(0, 0), before) == pytest.approx([30, -20], abs=1)
    assert len(desk.prompts) == 1


def test_every_control_has_an_accessible_name_and_tab_is_not_trapped(desk):
    unnamed = desk.page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, .la-canvas")]
            .filter((e) => !e.hidden && !e.getAttribute("aria-label") && !e.textContent.trim())
            .map((e) => e.outerHTML)"""
    )
    assert unnamed == []
    desk.page.get_by_role("application").focus()
    seen = set()
    for _ in range(60):
        desk.press("Tab")
        seen.add(desk.page.evaluate("document.activeElement.tagName"))
    assert {"BUTTON", "INPUT", "SELECT", "BODY"} <= seen


def test_whatever_can_have_the_focus_keeps_its_keys_from_the_notebook(desk):
    leaking = desk.page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, a, [tabindex]")]
            .filter((e) => !e.hasAttribute("data-lm-suppress-shortcuts")).length"""
    )
    assert leaking == 0


def test_an_empty_editor_says_what_to_do_and_offers_an_example(page):
    desk = Desk.__new__(Desk)
    desk.page = page
    content = state() | {"listed": [], "query": -1}
    mount(page, content)
    assert "Add a support photo" in page.locator(".la-empty").inner_text()
    page.get_by_role("button", name="Load example").click()
    assert page.evaluate("model.sent") == [[{"do": "example"}, 0]]


def test_the_hint_goes_with_the_first_prompt(desk):
    assert "click the object" in desk.page.locator(".la-empty").inner_text()
    desk.press("p")
    desk.click(30, 30)
    assert desk.page.locator(".la-empty").is_hidden()


def test_a_kernel_that_does_not_answer_is_noticed(desk):
    desk.press("p")
    desk.click(30, 30)
    desk.page.wait_for_function(
        "document.querySelector('.la-status').textContent.includes('kernel does not answer')"
    )


def test_a_kernel_that_answers_raises_no_alarm(desk):
    desk.page.evaluate("() => { model.python = () => model.set('ack', model.get('seq')); }")
    desk.press("p")
    desk.click(30, 30)
    desk.page.wait_for_timeout(3300)
    assert desk.status == ""


def test_the_label_map_is_coloured_and_hidden_without_the_kernel(desk):
    labels = np.zeros((120, 160), np.uint8)
    labels[30:90, 40:120] = 2
    before = desk.pixel(80, 60, "Query image")
    desk.label_map(labels, img=2)
    desk.page.wait_for_selector(".la-strip[data-labels='1']")
    saved, tinted = desk.page.evaluate("model.saved"), desk.pixel(80, 60, "Query image")
    assert tinted != before and tinted[2] > tinted[0]  # class 2 is sky blue
    desk.page.get_by_label("Hide cat").click()
    assert desk.pixel(80, 60, "Query image") == before
    desk.page.get_by_label("Show cat").click()
    desk.press("h")
    assert desk.pixel(80, 60, "Query image") == before
    assert desk.page.evaluate("model.saved") == saved


def test_an_error_is_shown_and_drawing_goes_on(desk):
    desk.from_python(status={"state": "error", "text": "Prediction failed: <b>no</b>"})
    assert desk.status == "Prediction failed: <b>no</b>"
    desk.press("p")
    desk.click(30, 30)
    assert len(desk.prompts) == 1


def test_prompts_set_in_python_are_drawn_and_can_be_undone(desk):
    before = desk.pixel(60, 60)
    box = {"img": 0, "cls": 1, "type": "lasso", "pts": [[20, 20], [99, 20], [99, 99], [20, 99]]}
    desk.from_python(prompts=[box | {"erase": False}])
    assert desk.pixel(60, 60) != before
    desk.canvas.hover()
    desk.page.get_by_label("Undo (Ctrl+Z)").click()
    assert desk.prompts == [] and desk.pixel(60, 60) == before


def test_a_mask_prompt_shows_its_pixels(page):
    mask = np.zeros((240, 320), bool)
    mask[50:100, 200:300] = True
    mask[60:70, 220:230] = False
    bare = Desk(page, state())
    plain = [bare.pixel(*xy) for xy in ((250, 80), (225, 65), (100, 80))]
    desk = Desk(page, state(prompts=to_json([mask_prompt(mask, 0, 1)])))
    shown = [desk.pixel(*xy) for xy in ((250, 80), (225, 65), (100, 80))]
    assert [a != b for a, b in zip(plain, shown, strict=True)] == [True, False, False]
    desk.press("v")
    desk.click(250, 80)
    desk.press("Delete")
    assert desk.prompts == []


def test_rubbing_out_where_nothing_is_painted_is_explained(desk):
    desk.press("e")
    desk.drag((20, 20), (60, 60))
    assert desk.prompts == [] and "Nothing of dog is painted here" in desk.status


@pytest.mark.parametrize("size", [(4000, 3000), (1, 1), (3000, 2)])
def test_a_photo_of_any_size_can_be_prompted(page, size):
    desk = Desk(page, state(photo(*size)))
    desk.zoom("0")
    width, height = size
    desk.press("p")
    desk.click(width / 2, height / 2)
    desk.press("b")
    desk.drag((width * 0.2, height * 0.2), (width * 0.6, height * 0.6), steps=4)
    desk.press("r")
    desk.drag((0, 0), (width, height), steps=3)
    assert [p["type"] for p in desk.prompts] == ["point", "brush", "box"]
    assert desk.prompts[-1]["pts"] == [[0, 0], [width, height]]


def test_a_brush_move_is_on_the_canvas_within_a_frame(page):
    rng = np.random.default_rng(1)
    many = [
        {"img": 0, "cls": 1 + i % 2, "type": "brush", "pts": pts, "r": 60, "erase": False}
        for i, pts in enumerate(rng.integers(0, 3000, (50, 30, 2)).tolist())
    ]
    desk = Desk(page, state(photo(4000, 3000), prompts=many))
    desk.zoom("0")
    desk.press("b")
    page.evaluate(
        """() => {
            window.echoes = [];
            addEventListener("pointermove", (e) => { window.t0 = performance.now(); }, true);
            addEventListener("pointermove", () => echoes.push(performance.now() - t0));
        }"""
    )
    rounds: list[float] = []
    for _ in range(5):  # other work can only slow a stroke down
        page.evaluate("echoes.length = 0")
        desk.drag((500, 500), (3500, 2500), steps=60)
        echoes = page.evaluate("echoes")
        assert len(echoes) >= 60
        rounds.append(np.percentile(echoes, 95) / busy())
        if rounds[-1] < 16:
            break
    assert min(rounds) < 16, rounds  # ms


def test_a_newer_label_map_is_not_overtaken(desk):
    first, second = np.ones((120, 160)), np.full((120, 160), 2)
    script = """(maps) => maps.forEach(([size, bytes], seq) => {
        const data = new DataView(new Uint8Array(bytes).buffer);
        model.set("overlay", { img: 2, seq, size, data });
    })"""
    packed = [
        [[160, 120], list(zlib.compress(m.astype(np.uint8).tobytes(), 1))] for m in (first, second)
    ]
    desk.page.evaluate(script, packed)
    desk.page.wait_for_selector(".la-strip[data-labels='1']")
    desk.page.wait_for_timeout(100)
    pixel = desk.pixel(80, 60, "Query image")
    assert pixel[2] > pixel[0]
    assert desk.page.locator(".la-strip[data-labels='1']").count() == 1


def test_unmounting_lets_everything_go(desk):
    assert desk.page.evaluate("model.listeners()") > 0
    desk.page.evaluate("unmount()")
    assert desk.page.evaluate("model.listeners()") == 0


def test_a_photo_is_handed_to_python_in_pieces_that_a_server_takes(desk, tmp_path):
    path = tmp_path / "new photo.jpg"
    path.write_bytes(bytes(9_000_000))  # as large as 12 megapixels
    desk.page.locator("input[type=file]").first.set_input_files(path)
    desk.page.wait_for_function("model.sent.length === 3")
    content = {"do": "add", "role": "support", "name": "new photo.jpg"}
    assert desk.page.evaluate("model.sent") == [
        [content | {"last": last}, 1] for last in (False, False, True)
    ]
    assert desk.status == "Sending new photo.jpg"


def test_a_removed_photo_comes_back_by_undo_with_its_prompts_and_its_query(desk):
    desk.press("p")
    desk.click(50, 50)
    images, prompts = desk.images, desk.prompts
    desk.page.get_by_label("Remove query query.png").click()
    assert desk.get("query") == -1
    desk.page.get_by_label("Remove support photo-0.png").click()
    assert desk.prompts == [] and desk.images == images[1:2]
    desk.page.get_by_role("application").focus()
    desk.press("Control+z", "Control+z")
    assert desk.images == images and desk.prompts == prompts and desk.get("query") == 2
    desk.press("Control+z")
    assert desk.prompts == []
    desk.press(*["Control+y"] * 3)
    assert desk.images == images[1:2] and desk.prompts == []


# Another view of another widget, with the same file, in the same page.
RERUN = """() => {
    unmount();
    document.getElementById("w").replaceChildren();
    window.unmount = widget.render({ model, el: document.getElementById("w") });
}"""


def test_a_re_run_without_the_photographs_of_before_offers_no_undo_that_python_refuses(desk):
    desk.from_python(file="work.drawings/cell.json")
    desk.page.evaluate(RERUN)
    desk.click(40, 40)
    desk.page.evaluate("unmount(); window.unmount = () => {}")
    desk.from_python(listed=desk.images[1:], query=1, prompts=[])
    desk.page.evaluate(RERUN)
    assert desk.page.locator("[aria-label^=Undo][aria-disabled=true]").count()


def test_undo_goes_on_after_a_re_run_of_the_cell(desk):
    desk.from_python(file="work.drawings/cell.json")
    desk.page.evaluate(RERUN)  # the history is kept under the name of the file
    before = desk.images
    desk.click(40, 40)
    desk.page.get_by_label("Remove support photo-0.png").click()
    desk.page.evaluate(RERUN)
    assert len(desk.images) == len(before) - 1 and desk.prompts == []
    desk.page.get_by_label("Undo (Ctrl+Z)").click()
    assert desk.images == before and len(desk.prompts) == 1
    desk.page.get_by_label("Undo (Ctrl+Z)").click()
    assert desk.prompts == []


def test_a_picture_whose_request_was_lost_is_asked_for_again(desk):
    lost = """(id) => {
        const answer = model.answer;
        model.answer = (wanted) => { model.asked.push(wanted); model.answer = answer; };
        model.state.jpegs[id] = Object.values(model.state.jpegs)[0];
        model.asked = [];
    }"""
    new = Placed(Photo.open(photo(90, 80, 5), "late.png"), "support").entry
    desk.page.evaluate(lost, new["id"])
    desk.from_python(added=[new])
    desk.page.locator("[aria-label='support late.png, 0 prompts'] img").wait_for()
    asked = [[id for id, _ in wanted] for wanted in desk.page.evaluate("model.asked")]
    assert len(asked) >= 2 and all(new["id"] in wanted for wanted in asked[:2])


def test_undo_survives_an_added_photo(desk):
    desk.press("p")
    desk.click(50, 50)
    more = """() => {
        const [image] = model.get("listed");
        model.state.jpegs.new = model.state.jpegs[image.id];
        model.set("added", [{ ...image, id: "new", file_name: "new.png" }]);
    }"""
    desk.page.evaluate(more)
    desk.page.wait_for_selector("[aria-label='support new.png, 0 prompts'][aria-pressed=true]")
    desk.page.get_by_role("application").focus()
    desk.press("Control+z")
    assert len(desk.images) == 3 and len(desk.prompts) == 1
    desk.press("Control+z")
    assert desk.prompts == []


def test_what_python_replaces_in_one_message_is_one_step_of_undo(desk):
    before = {key: desk.get(key) for key in ("listed", "classes", "prompts", "query")}
    script = """() => {
        const [image] = model.get("listed").slice(1);
        Object.assign(model.state, { listed: [image], classes: ["flower"], query: -1 });
        model.fire("change:listed", "change:classes", "change:query");
    }"""
    desk.page.evaluate(script)
    desk.page.get_by_role("application").focus()
    desk.press("Control+z")
    assert {key: desk.get(key) for key in before} == before
    assert desk.page.locator("[aria-label^=Undo][aria-disabled=true]").count()


def test_each_photograph_is_asked_for_once_what_is_displayed_first(desk):
    first, *more = desk.page.evaluate("model.asked")
    ids = [image["id"] for image in desk.images]
    assert first[:2] == [[ids[0], 1024], [ids[2], 1024]]
    assert sorted(first[2:]) == sorted([id, 128] for id in ids)
    desk.page.get_by_label("support photo-1.png, 0 prompts").click()
    desk.page.wait_for_function("model.asked.at(-1).length === 1")
    assert desk.page.evaluate("model.asked.at(-1)") == [[ids[1], 1024]]


def test_of_a_thousand_photographs_the_strip_asks_for_those_in_sight(page):
    content = state()
    (entry,) = content["listed"][:1]
    many = [{**entry, "id": f"i{k}", "file_name": f"{k}.jpg"} for k in range(1000)]
    content["jpegs"]["new"] = content["jpegs"][entry["id"]]
    content["jpegs"] |= {image["id"]: content["jpegs"][entry["id"]] for image in many}
    content["listed"] = [*many, content["listed"][-1]]
    content["query"] = 1000
    Desk(page, content)
    assert page.locator(".la-thumb").count() < 100
    strip = page.locator("[aria-label='Support images']")
    strip.evaluate("(e) => e.scrollTo(e.scrollWidth, 0)")
    page.wait_for_selector("[aria-label='support 999.jpg, 0 prompts'] img")
    strip.evaluate("(e) => e.scrollTo(0, 0)")
    page.wait_for_selector("[aria-label='support 0.jpg, 0 prompts'] img")
    more = """() => {
        const [image] = model.get("listed");
        model.set("added", [{ ...image, id: "new", file_name: "added.jpg" }]);
    }"""
    page.evaluate(more)
    page.wait_for_selector("[aria-label='support added.jpg, 0 prompts'][aria-pressed=true]")
    asked = {id for wanted in page.evaluate("model.asked") for id, _ in wanted}
    assert len(asked) < 300


def test_a_refusal_stays_until_it_is_closed(desk):
    desk.from_python(notice="add failed: notes.txt cannot be read as an image")
    desk.from_python(status={"state": "done", "text": "Segmented query.png in 20 ms"})
    assert "notes.txt" in desk.page.get_by_role("alert").inner_text()
    desk.page.get_by_label("Close this message").click()
    assert desk.page.get_by_role("alert").count() == 0 and desk.get("notice") == ""


def test_a_refused_file_ends_its_sending_though_the_status_of_python_stays(desk, tmp_path):
    (tmp_path / "notes.jpg").write_text("no photo")
    for _ in range(2):
        desk.page.locator("input[type=file]").first.set_input_files(tmp_path / "notes.jpg")
        desk.page.wait_for_function(
            "document.querySelector('.la-status').textContent === 'Sending notes.jpg'"
        )
        desk.page.evaluate("model.emit('msg:custom', { do: 'tell' }, [])")
        assert desk.status == "" and desk.get("status") == {"state": "idle", "text": ""}


def test_a_long_name_of_a_class_widens_nothing_in_a_narrow_window(page):
    page.set_viewport_size({"width": 500, "height": 800})
    Desk(page, state(classes=["dog", "x" * 200]))
    widths = "['.la-classes', '.la-side'].map((c) => document.querySelector(c).scrollWidth)"
    classes, side = page.evaluate(widths)
    assert classes <= side <= 500


def test_files_that_are_dropped_or_pasted_are_handed_to_python(desk):
    script = """([type, label]) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(9)], type + ".jpg", { type: "image/jpeg" }));
        const event = type === "drop" ? new DragEvent(type, { dataTransfer: data, bubbles: true })
            : new ClipboardEvent(type, { clipboardData: data, bubbles: true });
        document.querySelector(`canvas[aria-label='${label}']`).dispatchEvent(event);
    }"""
    desk.page.evaluate(script, ["drop", "Query image"])
    desk.page.evaluate(script, ["paste", "Support image"])
    desk.page.wait_for_function("model.sent.length === 2")
    sent = {(content["name"], content["role"]) for content, _ in desk.page.evaluate("model.sent")}
    assert sent == {("drop.jpg", "query"), ("paste.jpg", "support")}


def test_the_chooser_tells_what_each_model_is_and_asks_python_for_it(desk):
    desk.page.locator(".la-models summary").click()
    used, other = desk.page.locator(".la-model-list button").all()
    assert used.get_attribute("aria-pressed") == "true"
    text = other.inner_text()
    assert "owner/large" in text and "381 MB to download; MIT" in text and "on nothing" in text
    assert "0.31 s an image on this machine" in text
    other.click()
    desk.page.locator(".la-models summary").click()
    desk.page.get_by_label("Another model").fill("my/model.safetensors")
    desk.page.get_by_label("Another model").press("Enter")
    sent = [content for content, _ in desk.page.evaluate("model.sent")]
    assert sent == [{"do": "model", "name": n} for n in ("owner/large", "my/model.safetensors")]
