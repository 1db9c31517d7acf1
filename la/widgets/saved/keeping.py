"""Keeps what an editor made: on disk, for the next run of its cell, and as a picture."""

import gc
import shutil
import time
import weakref
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from la.errors import UserError
from la.widgets.photographs.worker import Worker
from la.widgets.saved import autosave
from la.widgets.saved.autosave import State

QUIET = 3.0  # seconds without a change before a picture is made of the drawing
# In a notebook that is opened without its kernel, JupyterLab writes "model not found" below the
# picture. The style is an output because widgets.css comes with a live widget.
STYLE = """<style class="la-no-model">
.jp-OutputArea-child:has(style.la-no-model) { display: none; }
.jp-OutputArea-child:has(img.jp-needs-light-background)
  + .jp-OutputArea-child:has(> .jupyter-widgets):not(:has(> .jupyter-widgets > *)) {
  display: none;
}
</style>"""

_live: dict[Path, "weakref.ref[Kept]"] = {}  # the editor of each file


class Kept(Protocol):
    """What is kept of an editor."""

    @property
    def state(self) -> State: ...

    def close(self) -> None: ...


def taken_up(path: Path, given: State) -> tuple[State, str]:
    """The state of the former editor of a cell, or of its file, and a sentence about it.

    The former editor is closed. With other prompts as arguments the cell starts from these, and
    the file is kept under another name.

    Args:
        path: the file of the cell.
        given: the arguments of the new editor, which it begins with if there is no former one.
    """
    former = _live.get(path, lambda: None)()
    note = ""
    if former is not None:
        state = former.state
        former.close()
        del former
        gc.collect()  # a widget is part of reference cycles; ten re-runs would leave 70 MB
    elif path.exists():
        try:
            state = autosave.read(path)
        except UserError as error:
            _set_aside(path, "damaged")
            return given, f"{error}; it is kept as {path.stem}-damaged.json"
        saved = datetime.fromtimestamp(path.stat().st_mtime)
        note = f"Restored the drawing of {saved:%Y-%m-%d %H:%M}"
    else:
        return given, ""
    if state.origin.prompts != given.origin.prompts:
        _set_aside(path, "earlier")
        return given, f"New prompts are given; what was drawn is kept as {path.stem}-earlier.json"
    return state.with_new_arguments(given), note


def _set_aside(path: Path, why: str) -> None:
    if path.exists():
        shutil.copy(path, path.with_stem(f"{path.stem}-{why}"))


class Keeper:
    """Writes the state of an editor after each change, in the background."""

    def __init__(
        self,
        editor: Any,
        path: Path,
        say: Callable[[str], None],
    ) -> None:
        self._editor = weakref.ref(editor)
        self._path = path
        self._say = say
        self._failed = False
        self._worker = Worker(self._write, editor._lock)
        _live[path] = self._editor

    def changed(self) -> None:
        """Write the state soon; return at once."""
        self._worker.ask()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the newest state is on disk; False if `timeout` seconds pass first."""
        return self._worker.wait(timeout)

    def end(self) -> None:
        """Stop; another editor of the file may take its place."""
        self._worker.forget()
        if _live.get(self._path) is self._editor:
            del _live[self._path]

    def _write(self) -> None:
        editor = self._editor()
        if editor is None:
            return
        with editor._lock:
            state = editor.state
            seq = editor.seq
        try:
            autosave.write(state, self._path)
        except (OSError, UserError) as error:
            reason = getattr(error, "strerror", None) or error
            self._failed = True
            self._say(
                f"The drawing is not saved ({reason}: {self._path.parent}). Nothing is lost as "
                "long as this page and its kernel run; free space or allow writing, and draw on."
            )
            return
        if self._failed:
            self._failed = False
            self._say("")
        editor.saved = seq


class LastingPicture:
    """A picture of the drawing beside the live editor, for later readers of the notebook.

    The page hides it while the editor is live (widgets.css).
    """

    def __init__(self, bundle: Callable[[], tuple[dict[str, Any], dict[str, Any]]]) -> None:
        from threading import RLock

        self._bundle = bundle
        self._handle: Any = None
        self._changed_at = 0.0
        self._worker = Worker(self._update, RLock())

    def display(self) -> None:
        """Show the picture below the running cell; later changes replace it."""
        from IPython.display import display

        display({"text/html": STYLE, "text/plain": ""}, raw=True)
        data, metadata = self._bundle()
        self._handle = display(data, metadata=metadata, raw=True, display_id=True)

    def changed(self) -> None:
        """Make a new picture once the drawing has not changed for some seconds."""
        self._changed_at = time.monotonic()
        if self._handle is not None:
            self._worker.ask()

    def end(self) -> None:
        """Make no further picture."""
        self._worker.forget()
        self._handle = None

    def _update(self) -> None:
        while (rest := self._changed_at + QUIET - time.monotonic()) > 0:
            time.sleep(rest)
        handle = self._handle
        if handle is not None:
            data, metadata = self._bundle()
            handle.update(data, metadata=metadata, raw=True)
