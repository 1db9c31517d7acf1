"""Sends the pixels of photographs to the page, one message for each photograph."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

from la.errors import UserError
from la.widgets.photographs.photos import Photo
from la.widgets.photographs.worker import Worker

Wanted = tuple[str, int]  # a photograph's id, and the long side of what is displayed


class PixelSupply:
    """Sends what the page displays now, in the order in which the page lists it.

    A newer list replaces the rest of an older one, so that scrolling does not wait for thumbnails
    that are out of sight. The page asks again for what has not arrived after some seconds.
    """

    def __init__(
        self,
        photo_of: Callable[[str], Photo | None],
        send: Callable[[dict[str, Any], list[bytes]], None],
        lock: threading.RLock,
    ) -> None:
        self._photo_of = photo_of
        self._send = send
        self._lock = lock
        self._wanted: list[Wanted] = []
        self._worker = Worker(self._work, lock)

    def ask(
        self,
        wanted: Sequence[Sequence[Any]],
        before: Sequence[Sequence[Any]] = (),
    ) -> None:
        """Send these [id, long side] soon; return at once.

        Args:
            wanted: all that the page lacks.
            before: those of them that an earlier list had; they are not sent twice.
        """
        asked_before = {(str(id), int(side)) for id, side in before}
        with self._lock:
            on_their_way = asked_before - set(self._wanted)
            items = [(str(id), int(side)) for id, side in wanted]
            self._wanted = [item for item in items if item not in on_their_way]
        self._worker.ask()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all is sent; False if `timeout` seconds pass first."""
        return self._worker.wait(timeout)

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._wanted:
                    return
                id, side = self._wanted.pop(0)
            photo = self._photo_of(id)
            if photo is None:
                continue
            content: dict[str, Any] = {"do": "pixels", "id": id, "side": side}
            try:
                self._send(content, [photo.jpeg(side)])
            except (UserError, OSError) as error:
                self._send({**content, "error": str(error)}, [])


class Pieces:
    """Files that the browser sends in pieces, because a server takes no message over 10 MB."""

    def __init__(self) -> None:
        self._pieces: dict[str, list[bytes]] = {}  # by the name of the file

    def take(self, name: str, piece: bytes, is_last: bool) -> bytes | None:
        """The whole file after its last piece, None before."""
        pieces = self._pieces.setdefault(name, [])
        pieces.append(piece)
        return b"".join(self._pieces.pop(name)) if is_last else None
