"""Folds and lists of episodes, counted by hand."""

from la.report.episode_lists import episode_histograms, fold_classes


def test_histograms_count_classes_and_prompts(loader, episodes):
    figure = episode_histograms(loader, episodes)
    asked = sum(bar.get_width() for bar in figure.axes[0].patches)
    assert asked == sum(e.n_ways for e in episodes)
    assert sum(bar.get_height() for bar in figure.axes[1].patches) == len(episodes)
    drawn = [d for e in episodes for d in loader.draw(e)]
    wanted = [sum(d.mask is not None for d in drawn), sum(len(d.boxes) for d in drawn)]
    wanted.append(sum(len(points) for d in drawn for points in d.points))
    assert [bar.get_height() for bar in figure.axes[3].patches] == wanted


def test_every_class_is_in_exactly_one_fold(loader):
    table = fold_classes(loader.index)
    assert list(table.columns) == ["fold 0", "fold 1", "fold 2", "fold 3"] and len(table) == 20
    assert sorted(table.to_numpy().ravel()) == sorted(loader.index.category_names)
    assert table["fold 1"][0] == loader.index.class_name(2)
