"""The models that an editor offers, and one of them loaded in the background."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from la.errors import MissingFile
from la.learn.weights import checkpoints, hub
from la.predict import pace
from la.predict.predictor import Predictor
from la.widgets.photographs.worker import Worker

PATIENCE = 2.5  # seconds after which a hub without an answer counts as unreachable


def offered() -> list[dict[str, Any]]:
    """The models that `load` knows, with `here` for those that need no download.

    `seconds` is the time to encode an image, or None until the model has been loaded here.
    """
    paces = pace.kept()
    return [
        {
            "name": model.name,
            "megabytes": model.megabytes,
            "licence": model.licence,
            "trained_on": model.trained_on,
            "here": is_here(model.name),
            "seconds": paces.get(model.name),
        }
        for model in hub.KNOWN
    ]


def is_here(name: str) -> bool:
    """Whether the model is part of the package, a path, or downloaded already."""
    from huggingface_hub import try_to_load_from_cache

    if name in hub.SHIPPED or Path(name).exists():
        return True
    try:
        return isinstance(try_to_load_from_cache(name, hub.FILE), str)
    except ValueError:  # no id on the hub
        return False


def check_reachable(name: str) -> None:
    """Find out in a few seconds whether a model can be downloaded.

    Raises:
        MissingFile: the hub does not answer.
    """
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=PATIENCE)
    except Exception as error:  # of whatever the session is made of
        reason = type(error).__name__
        raise MissingFile(
            f"{name} is not on this machine, and {constants.ENDPOINT} does not answer ({reason}); "
            "connect to the internet, or choose a model that is here"
        ) from None


def downloaded(name: str) -> float:
    """Megabytes of a hub model that have arrived so far."""
    from huggingface_hub import constants

    blobs = Path(constants.HF_HUB_CACHE, "models--" + name.replace("/", "--"), "blobs")
    return sum(file.stat().st_size for file in blobs.glob("*")) / 1e6


class ModelLoader:
    """Loads the model that was chosen last, and reports its progress."""

    def __init__(
        self,
        say: Callable[[str, str], None],
        refuse: Callable[[str], None],
        loaded: Callable[[Predictor], None],
    ) -> None:
        self._say = say
        self._refuse = refuse
        self._loaded = loaded
        self._name = ""
        self._worker = Worker(self._work, threading.RLock())

    def choose(self, name: str) -> None:
        """Load a model soon; return at once."""
        self._name = name
        self._worker.ask()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the model is loaded or has failed; False if `timeout` seconds pass first."""
        return self._worker.wait(timeout)

    def _work(self) -> None:
        name = self._name
        done = threading.Event()
        try:
            if not is_here(name) and hub._is_on_hub(name.partition("@")[0], Path(name)):
                check_reachable(name)
                threading.Thread(target=self._report, args=(name, done), daemon=True).start()
            self._say("busy", f"Loading {name}")
            predictor = Predictor(checkpoints.load(name))
            pace.measure(predictor)
        except Exception as error:  # any exception would silently end the thread
            self._say("idle", "")
            self._refuse(f"{name} is not loaded: {error}")
            return
        finally:
            done.set()
        self._loaded(predictor)

    def _report(self, name: str, done: threading.Event) -> None:
        """Say how much has been downloaded until `done` is set."""
        size = next((model.megabytes for model in hub.KNOWN if model.name == name), None)
        of = f" of {size}" if size else ""
        while not done.wait(0.5):
            self._say("busy", f"Downloading {name}: {downloaded(name):.0f}{of} MB")
