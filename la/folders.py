"""The folders outside the package, and the environment variables that move them."""

import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
CACHE = Path.home() / ".cache" / "label-anything"


def home_folder() -> Path:
    """The folder of caches, runs, results: `LA_HOME`, else the checkout, else the user's cache."""
    if "LA_HOME" in os.environ:
        return Path(os.environ["LA_HOME"])
    is_checkout = (CHECKOUT / "notebooks").is_dir()
    return CHECKOUT if is_checkout else CACHE


def weights_folder() -> Path:
    """The folder of downloaded weights: `LA_WEIGHTS`, else one in the user's cache."""
    return Path(os.environ.get("LA_WEIGHTS") or CACHE)


HOME = home_folder()
