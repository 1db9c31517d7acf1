"""Widgets for people in JupyterLab: draw prompts, look at predictions. Imported only on request."""

from la.widgets.editor import PromptEditor

__all__ = ["PromptEditor"]
