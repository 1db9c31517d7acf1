"""A widget's JavaScript in an empty page, beside a model that only remembers."""

import os
from base64 import b64encode
from pathlib import Path

import numpy as np
from PIL import Image

from la.widgets.page import browser

FAKE_MODEL = """
    window.fake = (state) => {
        const on = {};
        const model = {
            state, saved: 0, sent: [], asked: [], python: null,
            get: (key) => state[key],
            set(key, value) {
                if (state[key] === value) return;
                state[key] = value;
                (on["change:" + key] ?? []).forEach((f) => f());
            },
            fire(...events) { events.forEach((event) => (on[event] ?? []).forEach((f) => f())); },
            emit(event, ...values) { (on[event] ?? []).forEach((f) => f(...values)); },
            save_changes() { this.saved += 1; this.python?.(); },
            send(content, _, buffers) {
                if (content.do === "pixels") return this.answer(content.wanted);
                this.sent.push([content, buffers?.length ?? 0]);
            },
            answer(wanted) { // as Python does, each photograph by its own message
                this.asked.push(wanted);
                for (const [id, side] of wanted) {
                    const message = { do: "pixels", id, side }, jpeg = state.jpegs[id];
                    setTimeout(() => (on["msg:custom"] ?? []).forEach((f) => f(message, [jpeg])));
                }
            },
            on(event, f) { (on[event] ??= []).push(f); },
            off(event, f) { on[event] = on[event].filter((g) => g !== f); },
            listeners: () => Object.values(on).flat().length,
        };
        return model;
    };
    const view = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
    window.revive = (value) => {
        if (Array.isArray(value)) return value.map(revive);
        if (!value || typeof value !== "object") return value;
        if (value.base64 !== undefined) return view(value.base64);
        return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, revive(v)]));
    };
"""


def busy() -> float:
    """How many times slower than alone this machine may be now: work for each core, at least 1."""
    waiting = [os.getloadavg()[0]]
    if Path("/proc/loadavg").exists():  # the average lags behind by a minute
        waiting.append(int(Path("/proc/loadavg").read_text().split()[3].split("/")[0]))
    return max(1.0, max(waiting) / os.cpu_count())


def packed(value):
    """`value` for `revive` in the page: bytes travel as base64."""
    if isinstance(value, bytes):
        return {"base64": b64encode(value).decode()}
    if isinstance(value, dict):
        return {k: packed(v) for k, v in value.items()}
    return [packed(v) for v in value] if isinstance(value, list | tuple) else value


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture with a few soft blocks."""
    rng = np.random.default_rng(seed)
    small = rng.integers(60, 200, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def mount(page, state: dict) -> None:
    """Show a widget with this state in an empty page; its model is `window.model`."""
    css = (browser.HERE / "widgets.css").read_text()
    page.set_content(f"<style>{css} body {{ margin: 8px }}</style><div id=w></div>")
    page.evaluate(FAKE_MODEL)
    page.evaluate(
        """async ([source, state]) => {
            const blob = new Blob([source], { type: "text/javascript" });
            window.widget = (await import(URL.createObjectURL(blob))).default;
            window.model = fake(revive(state));
            window.unmount = widget.render({ model, el: document.getElementById("w") });
        }""",
        [browser.MODULE, packed(state)],
    )


def colour(page, x: float, y: float, label: str = "Query image") -> list[int]:
    """RGBA of the canvas where the image has its pixel (x, y)."""
    script = """([label, x, y]) => {
        const canvas = document.querySelector(`canvas[aria-label='${label}']`);
        const [scale, left, top] = canvas.dataset.view.split(",").map(Number);
        const at = [left + x * scale, top + y * scale].map(Math.round);
        return [...canvas.getContext("2d").getImageData(...at, 1, 1).data];
    }"""
    return page.evaluate(script, [label, x, y])
