"""Widgets for JupyterLab: draw prompts, inspect predictions. Imported only on request."""

from la.widgets.editor import PromptEditor
from la.widgets.viewer.viewer import EpisodeRecord, PredictionViewer

__all__ = ["EpisodeRecord", "PredictionViewer", "PromptEditor"]
