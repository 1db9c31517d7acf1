"""A background thread that runs the newest job and skips the jobs that it replaced."""

import threading
from collections.abc import Callable


class Worker:
    """Calls `work` at least once after each `ask`, in one thread that ends when all is done.

    `work` reads what there is to do when it is called, so that ten requests during a slow call
    cost one further call. It must not raise.
    """

    def __init__(self, work: Callable[[], None], lock: threading.RLock) -> None:
        self._work = work
        self._lock = lock  # of the state that `work` reads
        self._is_asked = False
        self._thread: threading.Thread | None = None

    def ask(self) -> None:
        """Have `work` called soon; return at once."""
        with self._lock:
            self._is_asked = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()

    def forget(self) -> None:
        """Drop a request that has not begun."""
        with self._lock:
            self._is_asked = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until everything that was asked is done; False if `timeout` seconds pass first."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout)
        return self._thread is None

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._is_asked:
                    self._thread = None
                    return
                self._is_asked = False
            self._work()
