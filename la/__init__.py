"""Label Anything: multi-class few-shot segmentation with visual prompts. The public names.

They are imported when they are first used, so that `import la` costs nothing.
"""

import importlib

_NAMES = {
    "workbench": "Workbench",
    "experiments": "compute pictures score rejudged stored costs histories",
    "config": "profile",
    "checkpoints": "load",
    "predictor": "Predictor",
    "types": "Box Point",
}
_HOME = {name: home for home, names in _NAMES.items() for name in names.split()}
_MODULES = ("charts", "pages", "plotting", "reports", "tables")
__all__ = [*_HOME, *_MODULES]


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f"module 'la' has no attribute {name!r}")
    module = importlib.import_module(f"la.{_HOME.get(name, name)}")
    return getattr(module, name) if name in _HOME else module
