"""Folds and lists of episodes, counted by hand."""

from la.experiment.setup.measurements import Measurement
from la.experiment.setup.workbench import Workbench
from la.profiles import profile
from la.report.pages.episode_lists import episode_histograms, first_list, fold_classes, listed


def test_histograms_count_classes_and_prompts(loader, episodes):
    figure = episode_histograms(loader, episodes)
    asked = sum(bar.get_width() for bar in figure.axes[0].patches)
    assert asked == sum(e.n_ways for e in episodes)
    assert sum(bar.get_height() for bar in figure.axes[1].patches) == len(episodes)
    drawn = [d for e in episodes for d in loader.draw(e)]
    wanted = [sum(d.mask is not None for d in drawn), sum(len(d.boxes) for d in drawn)]
    wanted.append(sum(len(points) for d in drawn for points in d.points))
    assert [bar.get_height() for bar in figure.axes[3].patches] == wanted


def test_every_class_is_in_exactly_one_fold(tiny_coco, tmp_path):
    bench = Workbench(profile("smoke"), tiny_coco.parents[1], tmp_path)
    table = fold_classes(bench)
    assert list(table.columns) == ["fold 0", "fold 1", "fold 2", "fold 3"] and len(table) == 2
    assert sorted(table.to_numpy().ravel()) == sorted(bench.data.test.category_names)
    assert list(table["fold 1"]) == ["class 3", "class 13"]


def test_a_listed_episode_names_its_query_and_the_supports_of_each_class(loader, episodes):
    table = listed(loader.index, episodes)
    episode = episodes[3]
    row = table.loc[3]
    assert row["query image"] == episode.query_id
    named = dict(text.split(": ") for text in row["support images"].split("; "))
    assert list(named) == [loader.index.class_name(c) for c in episode.class_ids]
    for example in episode.examples:
        ids = named[loader.index.class_name(episode.class_of(example))].split(", ")
        assert str(episode.image_of(example)) in ids


def test_a_page_shows_the_beginning_of_a_list_and_links_all_of_it(tmp_path, tiny_coco):
    bench = Workbench.open("smoke", tiny_coco.parents[1])
    bench = Workbench(bench.config, bench.source, tmp_path)
    measurement = Measurement("la", 0, 1, 1, 2, 7)
    text = first_list(bench, "table1", measurement)
    assert text.startswith(
        "The first 5 episodes of one list: fold 0, seed 2, 1-way 1-shot. All 7 are in "
        "[table1_episodes.csv](table1_episodes.csv)."
    )
    assert "[table1_lists.csv](table1_lists.csv) print" in text
    lines = (bench.results / "table1_episodes.csv").read_text().splitlines()
    assert len(lines) == 8 and lines[0] == "episode,query image,support images"
    assert lines[1].split(",")[1] == str(bench.episodes(measurement)[0].query_id)
