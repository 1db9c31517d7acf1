"""Widgets for people in JupyterLab: draw prompts, look at predictions. Imported only on request."""

from la.widgets.editor import PromptEditor
from la.widgets.viewer import EpisodeRecord, PredictionViewer

__all__ = ["EpisodeRecord", "PredictionViewer", "PromptEditor"]
