import dataclasses
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from la.config import PROTOCOLS, EpisodeConfig, ModelConfig, Protocol
from la.data.coco.index import CocoIndex
from la.data.sampling.episodes import EpisodeSampler, episode_list
from la.data.sampling.geometry import Frame
from la.data.sampling.loader import BatchLoader
from la.types import IGNORE, Batch, Episode, Example, Features, Pixels, PromptKind
from tests.data.entries import features_of

KINDS = tuple(PromptKind)
PAD = ModelConfig(image_size=96, resize="pad", mask_size=48, token_pool=20)
SQUASH = replace(PAD, resize="squash")


def loader_of(index, model=PAD, protocol=Protocol(), **options) -> BatchLoader:
    options = {"read_features": features_of} | options
    return BatchLoader(index, model, EpisodeConfig(), protocol, **options)


def episodes_of(index, n_ways=2, k_shots=2, episodes=6, seed=0, kinds=KINDS) -> list[Episode]:
    sampler = EpisodeSampler(index, index.category_ids.tolist(), Protocol(), [(n_ways, k_shots)])
    return episode_list(
        sampler, n_ways=n_ways, k_shots=k_shots, episodes=episodes, seed=seed, kinds=kinds
    )


def tensors_of(value, path="") -> dict[str, torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return {path: value}
    if value is None:
        return {}
    fields = dataclasses.fields(value)
    return {k: v for f in fields for k, v in tensors_of(getattr(value, f.name), f.name).items()}


def same(a: Batch, b: Batch) -> bool:
    one, other = tensors_of(a), tensors_of(b)
    return all(
        torch.equal(one[k], other[k]) and one[k].dtype == other[k].dtype for k in one | other
    )


# ---- targets


def handmade(tmp_path, annotations, size=(80, 80)) -> CocoIndex:
    """One image of `size` with rectangles (class, crowd, x0, y0, x1, y1), class ids 1 to 4."""
    content = {
        "images": [{"id": 1, "file_name": "1.png", "height": size[0], "width": size[1]}],
        "categories": [{"id": i, "name": str(i)} for i in (1, 2, 3, 4)],
        "annotations": [
            {
                "id": n, "image_id": 1, "category_id": c, "iscrowd": crowd,
                "bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0),
                "segmentation": {"size": list(size), "counts": runs(size, x0, y0, x1, y1)},
            }
            for n, (c, crowd, x0, y0, x1, y1) in enumerate(annotations, 1)
        ],
    }  # fmt: skip
    path = tmp_path / "instances_hand.json"
    path.write_text(json.dumps(content))
    return CocoIndex.from_json(path)


def runs(size, x0, y0, x1, y1) -> list[int]:
    mask = np.zeros(size, dtype=int)
    mask[y0:y1, x0:x1] = 1
    flat = mask.T.ravel()
    cuts = np.flatnonzero(np.diff(np.concatenate([[0], flat, [0]])))
    return np.diff(np.concatenate([[0], cuts, [flat.size]])).tolist()


SCENE = [  # class, crowd, x0, y0, x1, y1; below 2,048 pixels is small
    (1, 0, 0, 0, 60, 60),
    (2, 0, 60, 65, 80, 80),
    (1, 1, 0, 0, 10, 80),
    (3, 0, 50, 0, 80, 70),
    (2, 0, 5, 5, 55, 55),
]
AT = {"one": (3, 30), "two": (40, 40), "small": (75, 75), "crowd": (70, 5), "both": (2, 2),
      "extra": (20, 75), "nothing": (75, 40), "two over one": (30, 30)}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"crowd": IGNORE, "small": 2, "extra": 0}),
        ({"crowd": "foreground"}, {"crowd": 1, "small": 2}),
        ({"crowd": "background"}, {"crowd": 0, "small": 2}),
        ({"small_instances": "drop"}, {"crowd": IGNORE, "small": 0}),
        ({"small_instances": "ignore"}, {"crowd": IGNORE, "small": IGNORE}),
        ({"extra_unseen": "exclude"}, {"crowd": IGNORE, "small": 2, "extra": IGNORE}),
    ],
)
def test_a_target_follows_every_switch_of_the_protocol(tmp_path, changes, expected):
    index = handmade(tmp_path, SCENE)
    loader = loader_of(index, protocol=Protocol(**changes), fold_class_ids=(1, 2, 3))
    target = loader.target(Episode(1, (1, 2), (), (), 0))
    expected = {"one": 1, "two": 2, "both": 1, "nothing": 0, "two over one": 2} | expected
    assert {name: target[AT[name]] for name in expected} == expected


def test_the_paper_protocol_drops_crowds_and_small_instances(tmp_path):
    loader = loader_of(handmade(tmp_path, SCENE), protocol=PROTOCOLS["paper"])
    target = loader.target(Episode(1, (1, 2), (), (), 0))
    assert target[AT["crowd"]] == 0 and target[AT["small"]] == 0 and target[AT["one"]] == 1


def painted_by_pixel(index, episode, protocol, fold_class_ids) -> np.ndarray:
    """The target, decided instance by instance for every pixel."""
    height, width = index.sizes[np.searchsorted(index.image_ids, episode.query_id)]
    target = np.zeros((height, width), dtype=np.int64)
    annotations = index.annotations_of(episode.query_id)
    for crowds in (True, False):
        for a in annotations:
            class_id = int(index.category_ids[index.annotation_category[a]])
            if bool(index.annotation_crowd[a]) != crowds:
                continue
            if class_id in episode.class_ids:
                value = episode.class_ids.index(class_id) + 1
            elif class_id in fold_class_ids and protocol.extra_unseen == "exclude":
                value = IGNORE
            else:
                continue
            if crowds and protocol.crowd != "foreground":
                value = IGNORE if protocol.crowd == "ignore" else 0
            if not crowds and index.annotation_area[a] < 2048:
                if protocol.small_instances == "drop":
                    continue
                value = IGNORE if protocol.small_instances == "ignore" else value
            target[index.mask(a)] = value
    return target


@pytest.mark.parametrize("crowd", ["ignore", "foreground", "background"])
@pytest.mark.parametrize("small", ["keep", "drop", "ignore"])
@pytest.mark.parametrize("extra", ["background", "exclude"])
def test_targets_equal_those_painted_by_hand(tiny_index, crowd, small, extra):
    protocol = Protocol(crowd=crowd, small_instances=small, extra_unseen=extra)
    fold = (2, 3, 11, 17)
    loader = loader_of(tiny_index, protocol=protocol, fold_class_ids=fold)
    values = set()
    for episode in episodes_of(tiny_index, episodes=15):
        target = loader.target(episode)
        assert (target == painted_by_pixel(tiny_index, episode, protocol, fold)).all()
        values |= set(np.unique(target).tolist())
    assert {0, 1, 2} <= values


def test_targets_of_photographs_equal_those_painted_by_hand(real_index):
    loader = loader_of(real_index)
    for episode in episodes_of(real_index, n_ways=5, k_shots=1, episodes=20):
        expected = painted_by_pixel(real_index, episode, Protocol(), ())
        assert (loader.target(episode) == expected).all()


def test_targets_on_original_pixels_are_padded_with_ignore(tiny_index):
    episodes = episodes_of(tiny_index, episodes=4)
    loader = loader_of(tiny_index)
    batch = loader(episodes)
    assert len(set(map(tuple, batch.query_size.tolist()))) > 1
    for b, episode in enumerate(episodes):
        height, width = batch.query_size[b].tolist()
        assert (batch.target[b, :height, :width].numpy() == loader.target(episode)).all()
        assert batch.target[b, height:].eq(IGNORE).all()
        assert batch.target[b, :, width:].eq(IGNORE).all()


@pytest.mark.parametrize("model", [PAD, SQUASH], ids=["pad", "squash"])
def test_training_targets_are_sampled_over_the_input(tiny_index, model):
    episodes = episodes_of(tiny_index, episodes=4)
    loader = loader_of(tiny_index, model, target_side=32)
    batch = loader(episodes)
    for b, episode in enumerate(episodes):
        frame = Frame(tuple(batch.query_size[b].tolist()), 96, model.resize)
        expected = frame.sample(loader.target(episode), 32, IGNORE)
        assert (batch.target[b].numpy() == expected).all()
    assert batch.target.dtype == torch.int16


# ---- prompts


@pytest.mark.parametrize("model", [PAD, SQUASH], ids=["pad", "squash"])
def test_prompts_lie_in_the_input_frame_where_they_were_drawn(tiny_index, model):
    episodes = episodes_of(tiny_index, episodes=5)
    loader = loader_of(tiny_index, model)
    prompts = loader(episodes).prompts
    e = m = first = 0
    for episode in episodes:
        for example, drawn in zip(episode.examples, loader.draw(episode), strict=True):
            image_id = episode.image_of(example)
            size = tiny_index.sizes[np.searchsorted(tiny_index.image_ids, image_id)].tolist()
            frame = Frame(tuple(size), 96, model.resize)
            assert prompts.example_support[e] == first + example.support
            assert prompts.example_row[e] == example.row
            points = [p for group in drawn.points for p in group]
            kept = prompts.points[e][prompts.point_labels[e] != 0]
            assert len(kept) == len(points)
            for point, got in zip(points, kept, strict=True):
                index = frame.points(point[None] - 0.5)[0]
                assert got.tolist() == pytest.approx(index.tolist(), 1e-5)
            boxes = prompts.boxes[e][prompts.boxes_valid[e]]
            assert len(boxes) == len(drawn.boxes)
            for box, got in zip(drawn.boxes, boxes, strict=True):
                assert got.tolist() == pytest.approx(frame.boxes(box[None])[0].tolist(), 1e-5)
            if drawn.mask is not None:
                assert prompts.mask_example[m] == e
                assert (prompts.masks[m].numpy() == frame.mask(drawn.mask, 48)).all()
                m += 1
            e += 1
        first += len(episode.support_ids)
    assert (e, m) == (len(prompts.example_row), len(prompts.masks)) and m > 0


def test_every_instance_of_the_class_is_prompted_once_and_crowds_are_not(tiny_index):
    for episode in episodes_of(tiny_index, episodes=20, kinds=(PromptKind.BOX,)):
        for example, drawn in zip(
            episode.examples, loader_of(tiny_index).draw(episode), strict=True
        ):
            class_id = episode.class_of(example)
            masks = [
                tiny_index.mask(a)
                for a in tiny_index.annotations_of(episode.image_of(example))
                if tiny_index.category_ids[tiny_index.annotation_category[a]] == class_id
                and not tiny_index.annotation_crowd[a]
            ]
            assert len(drawn.boxes) == len(masks) > 0
            for box, mask in zip(drawn.boxes, masks, strict=True):
                y, x = np.nonzero(mask)
                assert box.tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]


@pytest.mark.parametrize("small", ["drop", "ignore"])
def test_small_instances_prompt_only_where_they_are_kept(tmp_path, small):
    index = handmade(tmp_path, SCENE)
    kept = loader_of(index).instances(1, 2)
    left = loader_of(index, protocol=Protocol(small_instances=small)).instances(1, 2)
    assert [len(kept), len(left)] == [2, 1] and left[0].box.tolist() == [5, 5, 55, 55]


def test_training_alone_jitters_boxes(tiny_index):
    episodes = episodes_of(tiny_index, kinds=(PromptKind.BOX,))
    exact, training = (
        loader_of(tiny_index, jitter=j)(episodes).prompts.boxes for j in (False, True)
    )
    assert exact.shape == training.shape and not torch.equal(exact, training)


@pytest.mark.parametrize("kind", KINDS)
def test_objects_are_the_mask_prompts_whatever_is_drawn(tiny_index, kind):
    masks = loader_of(tiny_index)(episodes_of(tiny_index, kinds=(PromptKind.MASK,))).prompts.masks
    drawn = episodes_of(tiny_index, kinds=(kind,))
    assert torch.equal(loader_of(tiny_index, objects=True)(drawn).objects, masks.bool())
    assert loader_of(tiny_index)(drawn).objects is None


def test_an_outline_without_pixels_still_gives_a_prompt_and_a_truth(tmp_path):
    content = {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 50, "width": 70} for i in (1, 2)],
        "categories": [{"id": 1, "name": "hair"}],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "iscrowd": 0, "area": 0.2,
             "bbox": [10, 20, 0.1, 2], "segmentation": [[10, 20, 10.1, 20, 10.1, 20.1, 10, 20.1]]}
            for i in (1, 2)
        ],
    }  # fmt: skip
    path = tmp_path / "instances_thin.json"
    path.write_text(json.dumps(content))
    index = CocoIndex.from_json(path)
    assert index.mask(0).sum() == 1
    for kind in KINDS:
        episode = Episode(1, (1,), (2,), (Example(0, 1, (kind,)),), 0)
        batch = loader_of(index)([episode])
        assert batch.target.eq(1).sum() == 1 and batch.target[0, 21, 10] == 1
        prompts = batch.prompts
        assert prompts.masks.sum() + prompts.boxes_valid.sum() + prompts.point_labels.sum() >= 1


# ---- batches


@pytest.mark.parametrize("options", [{}, {"target_side": 32, "jitter": True}], ids=str)
def test_an_episode_is_the_same_alone_and_in_any_batch(tiny_index, options):
    episodes = [
        *episodes_of(tiny_index, 3, 2, 3), *episodes_of(tiny_index, 1, 1, 3, 1),
        *episodes_of(tiny_index, 2, 1, 2, kinds=(PromptKind.POINT,)),
    ]  # fmt: skip
    loader = loader_of(tiny_index, **options)
    batch = loader(episodes)
    for b, episode in enumerate(episodes):
        alone = loader_of(tiny_index, **options)([episode])
        rows, (height, width) = alone.n_rows, alone.target.shape[1:]
        assert torch.equal(batch.target[b, :height, :width], alone.target[0])
        assert torch.equal(batch.token_rows[b, :rows], alone.token_rows[0])
        assert batch.token_rows[b, rows:].eq(0).all()
        assert batch.class_valid[b].tolist() == [c < rows for c in range(batch.n_rows)]
        assert torch.equal(batch.query_size[b], alone.query_size[0])
        supports = torch.nonzero(batch.support_episode == b).flatten()
        assert torch.equal(batch.source.support[supports], alone.source.support)
        assert torch.equal(batch.source.query[b], alone.source.query[0])
        mine = torch.nonzero(torch.isin(batch.prompts.example_support, supports)).flatten()
        shared, own = batch.prompts, alone.prompts
        assert torch.equal(shared.example_row[mine], own.example_row)
        assert torch.equal(shared.example_support[mine] - supports[0], own.example_support)
        n_points, n_boxes = own.points.shape[1], own.boxes.shape[1]
        assert torch.equal(shared.points[mine, :n_points], own.points)
        assert shared.point_labels[mine, n_points:].eq(0).all()
        assert torch.equal(shared.point_labels[mine, :n_points], own.point_labels)
        assert torch.equal(shared.boxes[mine, :n_boxes], own.boxes)
        assert torch.equal(shared.boxes_valid[mine, :n_boxes], own.boxes_valid)
        assert not shared.boxes_valid[mine, n_boxes:].any()
        masks = torch.isin(shared.mask_example, mine)
        assert torch.equal(shared.masks[masks], own.masks)
        assert torch.equal(shared.mask_example[masks] - mine[0], own.mask_example)


def test_a_list_always_gives_the_same_tensors(tiny_index):
    episodes = episodes_of(tiny_index)
    used, fresh = loader_of(tiny_index, jitter=True), loader_of(tiny_index, jitter=True)
    used(episodes_of(tiny_index, seed=9))
    assert same(used(episodes), fresh(episodes))
    assert same(used(episodes), used(episodes))


def test_token_rows_are_distinct_and_leave_the_first_to_background(tiny_index):
    batch = loader_of(tiny_index)(episodes_of(tiny_index, n_ways=5, k_shots=1, episodes=30))
    assert batch.token_rows[:, 0].eq(0).all()
    for rows in batch.token_rows[:, 1:].tolist():
        assert len(set(rows)) == 5 and min(rows) >= 1 and max(rows) < PAD.token_pool
    assert batch.token_rows.unique().numel() == PAD.token_pool
    without = loader_of(tiny_index, replace(PAD, token_pool=0))(episodes_of(tiny_index))
    assert without.token_rows.eq(0).all()


def test_features_are_asked_for_queries_first(tiny_index):
    episodes = episodes_of(tiny_index, episodes=3)
    source = loader_of(tiny_index)(episodes).source
    assert isinstance(source, Features)
    assert source.query[:, 0, 0, 0].tolist() == [e.query_id for e in episodes]
    assert source.support[:, 0, 0, 0].tolist() == [i for e in episodes for i in e.support_ids]


def test_pixels_are_read_where_there_are_no_features(tiny_index):
    episodes = episodes_of(tiny_index, episodes=2)
    source = loader_of(tiny_index, read_features=None)(episodes).source
    assert isinstance(source, Pixels)
    for pixels, image_id in zip(
        (*source.query, *source.support),
        [e.query_id for e in episodes] + [i for e in episodes for i in e.support_ids],
        strict=True,
    ):
        image = tiny_index.read_image(image_id)
        expected = Frame((image.height, image.width), 96, "pad").image(image)
        assert torch.equal(pixels, expected)


def test_a_missing_picture_is_named(tiny_coco, tmp_path):
    index = CocoIndex.from_json(tiny_coco, images=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"image \d+ .*no file \d+.png"):
        loader_of(index, read_features=None)(episodes_of(index, episodes=1))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("n_ways", "k_shots"), [(2, 1), (4, 2)])
def test_no_episode_of_photographs_fails(real_index, protocol, n_ways, k_shots):
    sampler = EpisodeSampler(
        real_index, real_index.category_ids.tolist(), PROTOCOLS[protocol], [(n_ways, k_shots)]
    )
    config = EpisodeConfig()
    loader = loader_of(real_index, protocol=PROTOCOLS[protocol], target_side=64, jitter=True)
    for i in range(40):
        episode = sampler.training_episode(i, n_ways=n_ways, k_shots=k_shots, seed=1, config=config)
        batch = loader([episode])
        prompts = batch.prompts
        marks = (prompts.point_labels != 0).sum(1) + prompts.boxes_valid.sum(1)
        marks[prompts.mask_example] += prompts.masks.sum((1, 2)).long()
        assert marks.min() >= 1 and torch.unique(prompts.example_row).numel() == episode.n_ways
