"""What each page found: one sentence made from its numbers, and a verdict on the paper's claim."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from la.experiment.methods import label
from la.experiment.setup.measurements import Result
from la.report.scores.comparison import Comparison
from la.report.scores.tables import REFERENCES, mean_scores
from la.report.verdicts import behind
from la.report.verdicts.families import PROTOTYPES
from la.report.verdicts.finding import (
    MORE_CLASSES,
    ONE_CLASS,
    ONE_TRAINING,
    PROMPTS,
    SEVERAL_CLASSES,
    Finding,
    Verdict,
)
from la.report.verdicts.prompt_costs import LITTLE, costs_over_trainings, is_little
from la.wording import counted

LA_NAMES = ("la", "published")  # the methods that the paper's claims are about


def one_class(results: Iterable[Result], comparisons: Sequence[Comparison]) -> Finding:
    """Table 1: LA against the best comparator, and the claim about prototype methods."""
    prototypes = [c for c in comparisons if c.other in PROTOTYPES]
    sentence = _against_best(list(results), comparisons)
    leads = _leads("lead over the best other prototype method in points", prototypes)
    return Finding(sentence, ONE_CLASS, _verdict(prototypes), leads)


def several_classes(results: Iterable[Result], comparisons: Sequence[Comparison]) -> Finding:
    """Table 2: LA against the best comparator, and the claim to be ahead of all."""
    others = [c for c in comparisons if c.other not in REFERENCES]
    sentence = _against_best(list(results), comparisons)
    leads = _leads("lead over the best other method in points", others)
    return Finding(sentence, SEVERAL_CLASSES, _verdict(others), leads)


def with_more_classes(results: Iterable[Result], comparisons: Sequence[Comparison]) -> Finding:
    """Table 3: how much of its 1-way score LA keeps at the largest N, and the best comparator."""
    results = list(results)
    means = mean_scores(results)
    table = means.pivot_table("value", "N", "method", sort=False).sort_index()
    references = {label(name) for name in REFERENCES}
    others = [name for name in table.columns if name != "LA" and name not in references]
    if "LA" not in table or not others or len(table) < 2:
        return Finding("LA has not been scored at several N here.", MORE_CLASSES, "not run")
    few, many = table.index[0], table.index[-1]
    kept = 100 * table.loc[many] / table.loc[few]
    best = table.loc[many, others].idxmax()
    most = counted(many, "class")
    sentence = (
        f"From {counted(few, 'class')} to {most} LA falls from {table.loc[few, 'LA']:.1f} % to "
        f"{table.loc[many, 'LA']:.1f} % and keeps {kept['LA']:.0f} % of its score; the best "
        f"comparator at {most} ({best}) has {table.loc[many, best]:.1f} % and keeps "
        f"{kept[best]:.0f} %."
    )
    sentence = _after(behind.named_first(results, comparisons), sentence)
    several = []
    for c in comparisons:
        if c.other not in REFERENCES and not c.setting.startswith("1-way "):
            several.append(c)
    smallest_lead = sorted(several, key=lambda c: c.difference.value)[:1]
    return Finding(
        sentence,
        MORE_CLASSES,
        _verdict(several),
        _leads("smallest lead in points", smallest_lead),
    )


def kinds_of_prompts(results: Iterable[Result], comparisons: Sequence[Comparison]) -> Finding:
    """Table 5: what LA loses with other prompts than masks, in the first setting.

    Confirmed if the interval of each cost lies between 0 and `LITTLE` points, not confirmed if one
    lies outside.
    """
    results = list(results)
    la = [r for r in results if r.measurement.method in LA_NAMES]
    table = mean_scores(la)
    setting = table["setting"].iloc[0]
    shown = table[table["setting"] == setting].set_index("prompts")
    means = shown["value"]
    if "masks" not in means or len(means) < 2:
        return Finding("LA has not been scored with several kinds of prompts.", PROMPTS, "not run")
    texts = ", ".join(f"{value:.1f} % with {prompts}" for prompts, value in means.items())
    others = means.drop("masks")
    best = bool((means["masks"] > others).all())
    costs = means["masks"] - others
    by_training = costs_over_trainings(la, setting)
    spread = ", ".join(f"{cost.points} with {kind}" for kind, cost in by_training.items())
    has_interval = not any(np.isnan(cost.low) for cost in by_training.values())
    interval = f"cost in points: {spread}" if has_interval else ""
    verdict = is_little(by_training.values())
    sentence = f"In {setting} LA scores {texts}."
    if best:
        sentence += (
            f" Masks are best, and {costs.idxmax()} cost most, {costs.max():.1f} points, where "
            f'the paper\'s "a little" is taken to mean less than {LITTLE}.'
        )
    sentence = _after(behind.named_first(results, comparisons), sentence)
    return Finding(sentence, PROMPTS, verdict, interval)


def one_training(results: Iterable[Result]) -> Finding:
    """Whether the same checkpoint of each fold and list scored LA in all settings."""
    la = [r for r in results if r.measurement.method == "la"]
    settings = {r.measurement.setting for r in la}
    if len(settings) < 2:
        return Finding("LA has not been scored in several settings.", ONE_TRAINING, "not run")
    models: dict[tuple[int, int], set[str]] = {}
    for r in la:
        key = (r.measurement.fold, r.measurement.seed)
        models.setdefault(key, set()).add(r.checkpoint_sha256)
    n_models = len(set().union(*models.values()))
    is_same = all(len(hashes) == 1 for hashes in models.values())
    means = mean_scores(la).sort_values("value")
    worst, best = means.iloc[0], means.iloc[-1]
    trainings = counted(n_models, "training")
    if is_same:
        trained = f"The same {trainings}, one for each fold and list, were"
    else:
        trained = f"{trainings}, more than one for some fold and list, were"
    sentence = (
        f"{trained} scored in {counted(len(settings), 'setting')}: "
        f"from {worst['value']:.1f} % in {worst['setting']} to "
        f"{best['value']:.1f} % in {best['setting']}."
    )
    return Finding(sentence, ONE_TRAINING, "confirmed" if is_same else "not confirmed")


def spread_of_episodes(result: Result, episode_miou: np.ndarray) -> Finding:
    """Figure 3: single episodes of one list; `episode_miou` in percent, of those ranked."""
    low, middle, high = np.percentile(episode_miou, [10, 50, 90])
    queries = f"{counted(len(episode_miou), 'query')} ({result.measurement.setting})"
    return Finding(
        f"Single episodes differ widely: of {queries} that show both classes, a tenth scores "
        f"below {low:.0f} %, half below {middle:.0f} % and a tenth above {high:.0f} % mIoU."
    )


def protocol_range(rules: pd.DataFrame) -> Finding:
    """How far the score of the same predictions moves with the rule of scoring.

    Args:
        rules: scores in percent, a column per rule; rows (setting, method, protocol).
    """
    points = rules.max(axis=1) - rules.min(axis=1)
    place = points.argmax()
    setting, method, truth = points.index.to_list()[place]
    scores = rules.iloc[place]
    return Finding(
        f"In {setting} the same predictions of {method} (protocol `{truth}`) score "
        f'{scores.min():.1f} % by the rule "{scores.idxmin()}" and {scores.max():.1f} % by the '
        f'rule "{scores.idxmax()}": {points.max():.1f} points apart.'
    )


def own_method(comparisons: Sequence[Comparison]) -> Finding:
    """The user's method against LA in each setting."""
    against_la = [c for c in comparisons if c.other == "la"]
    if not against_la:
        return Finding("The method has not been compared with LA.")
    texts = [f"{_distance(c)} LA in {c.setting}" for c in against_la]
    return Finding(f"{label(against_la[0].method)} scores {' and '.join(texts)}.")


def closest_comparators(comparisons: Iterable[Comparison]) -> dict[str, Comparison]:
    """By setting: the best method besides the one compared, without references."""
    closest: dict[str, Comparison] = {}
    for c in comparisons:
        if c.other in REFERENCES:
            continue
        best = closest.get(c.setting)
        if best is None or c.difference.value < best.difference.value:
            closest[c.setting] = c
    return closest


def best_comparator(comparisons: Iterable[Comparison], setting: str) -> str:
    """The name of the method of `closest_comparators` in one setting; "" where there is none."""
    closest = closest_comparators(comparisons)
    return closest[setting].other if setting in closest else ""


def _after(named_first: str, sentence: str) -> str:
    """The sentence, preceded by another one if there is one that must be read first."""
    return f"{named_first} {sentence}" if named_first else sentence


def _against_best(results: Sequence[Result], comparisons: Sequence[Comparison]) -> str:
    """LA against the best comparator of each setting; settings where it is not ahead come first."""
    closest = closest_comparators(comparisons)
    if not closest:
        return "LA has not been compared with any other method here."
    first = behind.named_first(results, comparisons)
    # A setting that the first sentence names is not repeated.
    told = [(c.other, c.setting) for c in behind.not_ahead(comparisons)]
    left = [c for c in closest.values() if (c.other, c.setting) not in told]
    if not left:
        return first
    values: dict[tuple[str, str], list[float]] = {}
    for r in results:
        key = (r.measurement.method, r.measurement.setting)
        values.setdefault(key, []).append(100 * r.scores.miou_star)
    texts = []
    for c in sorted(left, key=lambda c: c.difference.value >= 0):
        mean = np.mean(values[c.method, c.setting])
        unresolved = "" if c.difference.resolved else ", unresolved"
        distance = f"{_distance(c)} the best comparator ({label(c.other)}{unresolved})"
        texts.append(f"{mean:.1f} % in {c.setting}, {distance}")
    return _after(first, f"{label(left[0].method)} scores {'; '.join(texts)}.")


def _distance(c: Comparison) -> str:
    """Such as "5.0 points more than"; "as much as" for a difference that is printed as 0.0."""
    points = round(100 * c.difference.value, 1)
    if not points:
        return "as much as"
    return f"{abs(points):.1f} points {'more' if points > 0 else 'less'} than"


def _leads(title: str, comparisons: Iterable[Comparison]) -> str:
    """The difference to the closest comparator of each setting, with the interval over episodes.

    "" without a comparator.
    """
    texts = []
    for setting, c in closest_comparators(comparisons).items():
        texts.append(f"{c.difference.points} in {setting} ({label(c.other)})")
    return f"{title}: {'; '.join(texts)}" if texts else ""


def _verdict(comparisons: Sequence[Comparison]) -> Verdict:
    """Confirmed if LA is ahead in all comparisons, each beyond its interval over episodes."""
    if not comparisons or comparisons[0].method not in LA_NAMES:
        return "not run"
    differences = [c.difference for c in comparisons]
    if any(d.value < 0 and d.resolved for d in differences):
        return "not confirmed"
    if all(d.value > 0 and d.resolved for d in differences):
        return "confirmed"
    return "unresolved"
