"""Charts of training runs: loss, gradient, learning rate and the score on seen classes, by step."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from la.report.figures.canvas import stacked, styles, with_legend
from la.report.figures.charts import AXIS_NAMES


def curves(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """Each run's loss and gradient norm, thin, with running medians; its score; its learning rate.

    Args:
        histories: by name, columns step, loss, norm, lr and, where the training was validated,
            validation: mIoU* on seen classes as a share of 1, NaN between saved states.
    """
    names = {"loss": "focal loss", "norm": "gradient norm", "lr": "learning rate"}
    is_scored = any("validation" in history for history in histories.values())
    figure, axes = stacked(3 + is_scored, 1.8, shares_x=True)
    for run, style in styles(histories).items():
        history = histories[run]
        for axis, column in zip(axes, names, strict=False):
            smooth = history[column]
            if column != "lr":
                axis.plot(
                    history["step"],
                    history[column],
                    color=style.colour,
                    lw=0.4,
                    alpha=0.4,
                )
                smooth = _running_median(history[column])
            axis.plot(
                history["step"],
                smooth,
                color=style.colour,
                linestyle=style.dashes,
                label=run,
            )
        if "validation" in history:
            _draw_score(axes[-1], history, style.colour, style.dashes, style.marker)
    for axis, name in zip(axes, names.values(), strict=False):
        axis.set(ylabel=name)
    for axis in axes:  # after all runs are drawn: a limit that is set stays
        axis.set_ylim(0, None)
    axes[-1].set_xlabel(AXIS_NAMES["steps"])
    return with_legend(figure)


def loss_by_shape(history: pd.DataFrame) -> Figure:
    """The running median of the loss of one run, a line per shape of its batches; its score.

    Args:
        history: columns step, loss and shape, such as "16 x 1-way 1-shot", and, where the
            training was validated, validation, as for `curves`.
    """
    is_scored = "validation" in history
    figure, axes = stacked(1 + is_scored, 2.4 if is_scored else 3.2, shares_x=True)
    axis = axes[0]
    for shape, style in styles(sorted(history["shape"].unique())).items():
        shown = history[history["shape"] == shape]
        axis.plot(
            shown["step"],
            _running_median(shown["loss"]),
            color=style.colour,
            linestyle=style.dashes,
            marker=style.marker,
            markevery=max(1, len(shown) // 8),
            label=shape,
        )
    axis.set(ylabel="focal loss", ylim=(0, None))
    if is_scored:
        _draw_score(axes[1], history, "black", "-", "o")
        axes[1].set_ylim(0, None)
    axes[-1].set_xlabel(AXIS_NAMES["steps"])
    return with_legend(figure)


def _draw_score(axis: Axes, history: pd.DataFrame, colour: str, dashes: str, marker: str) -> None:
    """mIoU* on seen classes at the steps at which a state was saved."""
    scored = history.dropna(subset="validation")
    axis.plot(
        scored["step"] + 1,
        100 * scored["validation"],
        color=colour,
        linestyle=dashes,
        marker=marker,
    )
    axis.set(ylabel="mIoU* (%),\nseen classes")


def curves_in_words(histories: Mapping[str, pd.DataFrame]) -> str:
    """Where the loss and the score of each run end; histories as for `curves`."""
    texts = []
    for run, history in histories.items():
        loss = _running_median(history["loss"]).iloc[-1]
        text = f"{run}: the loss ends at {loss:.2f}"
        if "validation" in history and history["validation"].notna().any():
            score = 100 * history["validation"].dropna().iloc[-1]
            text += f", mIoU* on seen classes at {score:.1f} %"
        texts.append(text)
    return f"{'; '.join(texts)}."


def shapes_in_words(history: pd.DataFrame) -> str:
    """The shapes of batches whose loss ends lowest and highest; the history as above."""
    ends: dict[str, float] = {}
    for shape, shown in history.groupby("shape"):
        ends[str(shape)] = _running_median(shown["loss"]).iloc[-1]
    low, high = min(ends, key=ends.__getitem__), max(ends, key=ends.__getitem__)
    return (
        f"The loss ends lowest for batches of {low} ({ends[low]:.2f}) and highest for {high} "
        f"({ends[high]:.2f})."
    )


def _running_median(values: pd.Series) -> pd.Series:
    window = max(5, len(values) // 40)
    return values.rolling(window, min_periods=1).median()
