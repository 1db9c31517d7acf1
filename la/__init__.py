"""Label Anything: multi-class few-shot segmentation with visual prompts. The public names.

They are imported when they are first used, so that `import la` costs nothing.
"""

import importlib
from typing import Any

_NAMES = {
    "experiment.setup.workbench": "Workbench",
    "experiment.run": "compute score rejudged stored costs histories",
    "experiment.own_method": "trained",
    "report.verdicts.ablations": "ablations ladder trainings worth_of_parts worth_of_start",
    "report.verdicts.behind": "against_training_free",
    "report.pages.claims": "asked claims of_tables overview shown with_all_rivals",
    "report.scores.clear_subjects": "clear_subjects",
    "report.scores.comparison": "among compare differences not_scored",
    "report.verdicts.families": (
        "by_family by_quantity cost_growth growth prototypes_against_affinities"
    ),
    "report.verdicts.pairing": "explained_by_pairing pairing",
    "report.figures.pictures": "pictures",
    "report.verdicts.shadows": "not_above_shadow shadows",
    "report.pages.episode_lists": "episode_histograms first_list fold_classes without_predictions",
    "report.verdicts.prompts_used": "prompts_matter prompts_used",
    "report.pages.questions": "questions",
    "report.scores.sources": "sources tables_of",
    "profiles": "profile",
    "learn.weights.checkpoints": "load",
    "predict.predictor": "Predictor",
    "types": "Box Point",
}
_HOME = {name: home for home, names in _NAMES.items() for name in names.split()}
_MODULES = {
    "charts": "report.figures.charts",
    "error_charts": "report.figures.error_charts",
    "findings": "report.verdicts.findings",
    "pages": "report.pages.markdown",
    "paper": "report.scores.paper",
    "plotting": "report.figures.pictures",
    "probes": "report.verdicts.probes",
    "reports": "report.scores.analysis",
    "starts": "report.verdicts.starts",
    "tables": "report.scores.tables",
    "training_charts": "report.figures.training_charts",
}
__all__ = [*_HOME, *_MODULES]


def module_of(name: str) -> str:
    """The module behind a public name; any other name is a module itself."""
    return f"la.{_HOME.get(name) or _MODULES.get(name, name)}"


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'la' has no attribute {name!r}")
    module = importlib.import_module(module_of(name))
    return getattr(module, name) if name in _HOME else module
