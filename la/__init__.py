"""Label Anything: multi-class few-shot segmentation with visual prompts. The public names.

They are imported when they are first used, so that `import la` costs nothing.
"""

import importlib

_HOME = {
    "Workbench": "la.workbench",
    "compute": "la.experiments",
    "pictures": "la.experiments",
    "score": "la.experiments",
    "stored": "la.experiments",
    "costs": "la.experiments",
    "histories": "la.experiments",
    "charts": "la.charts",
    "plotting": "la.plotting",
    "pages": "la.pages",
    "reports": "la.reports",
    "profile": "la.config",
    "tables": "la.tables",
    "load": "la.checkpoints",
    "Predictor": "la.predictor",
    "Box": "la.types",
    "Point": "la.types",
}
__all__ = list(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'la' has no attribute {name!r}")
    module = importlib.import_module(_HOME[name])
    return module if _HOME[name] == f"la.{name}" else getattr(module, name)
