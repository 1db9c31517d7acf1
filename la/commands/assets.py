"""Commands about data, features, models and predictions.

Imports are inside the functions, so that a command loads only what it needs.
"""

import sys
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from la.commands import options
from la.commands.app import app
from la.commands.options import (
    Data,
    Fold,
    Limit,
    Method,
    Profile,
    Seed,
    Shots,
    TestEpisodes,
    Unseen,
    Ways,
)
from la.errors import UserError
from la.wording import counted


@app.command()
def data(
    folder: Annotated[Path | None, Argument(help="folder to check, in COCO format")] = None,
    profile: Profile = "quick",
    data: Data = None,
    faults: Annotated[
        Path | None, Option(metavar="FILE", help="a CSV file for all that was found")
    ] = None,
) -> int:
    """Check a folder of images and annotations; without one, write the embedded data set.

    The exit status is 0 if all of the folder can be used, 1 if something cannot, and 2 if the
    folder cannot be opened.
    """
    from la.data.check import check
    from la.experiment.setup.about_data import about_data, data_of
    from la.files import check_writable, write_whole
    from la.folders import HOME
    from la.learn.weights.hub import SHIPPED
    from la.profiles import profile as profile_of

    if folder is not None and data is not None:
        raise UserError(f"two folders, {folder} and --data {data}; give one of them")
    source = folder or data
    if faults is not None:
        if source is None:
            raise UserError("--faults needs a folder to check")
        check_writable(faults)
    config = profile_of(profile)
    opened = data_of(config, source, HOME)
    print(f"Profile {profile}. {about_data(opened, config, source)}", file=sys.stderr)
    for split, index in (("train", opened.train), ("test", opened.test)):
        print(
            f"{split}: {counted(len(index.image_ids), 'image')}, "
            f"{counted(len(index.annotation_image), 'instance')} of "
            f"{counted(len(index.category_ids), 'class')}, {index.source.name}"
        )
    print(f"{opened.name} {opened.fingerprint}")
    if source is None:
        return 0
    report = check(opened, source, config, SHIPPED)
    print(report)
    if faults is not None:
        write_whole(faults, report.to_csv())
    return 0 if report.is_usable else 1


@app.command()
def features(
    profile: Profile = "quick",
    data: Data = None,
    limit: Limit = None,
    test_episodes: TestEpisodes = None,
) -> None:
    """Compute the feature cache ahead of training."""
    from la.experiment.needs import listed_images
    from la.experiment.setup.rounding import feature_bytes, settle_if_short
    from la.features.encoding import keeps_features

    if not keeps_features():
        raise UserError("LA_FEATURES=none keeps no features; unset it, or train without this step")
    bench = options.workbench(profile, data)
    train, test = bench.data.train, bench.data.test
    train_ids, test_ids = (index.image_ids.tolist()[:limit] for index in (train, test))
    if test_episodes:
        train_ids, test_ids = [], sorted(listed_images(bench, test_episodes))
    n_images = len(train_ids) + len(test_ids)
    bench.once(lambda: settle_if_short(bench, n_images))
    for split, index, ids in (("train", train, train_ids), ("test", test, test_ids)):
        missing = len(bench.store(index).missing(ids))
        gigabytes = missing * feature_bytes(bench.config, bench.numbers) / 1e9
        there = len(ids) - missing
        print(
            f"{split}: {counted(there, 'image')} there, {missing} to make ({gigabytes:.2f} GB)",
            flush=True,
        )
        bench.features(index, ids)


@app.command()
def fetch(
    what: Annotated[str, Argument(help="coco, published, sam, mae, dinov2-small or dinov2-base")],
    root: Annotated[Path | None, Option(metavar="DIR")] = None,
    mirror: Annotated[
        str | None, Option(metavar="URL", help="server to use instead of the publisher's")
    ] = None,
) -> None:
    """Download COCO, a backbone or the published models."""
    from la.data.download import coco_folder
    from la.experiment.planning import fetching
    from la.folders import HOME, weights_folder

    usual = coco_folder(HOME / "cache") if what == "coco" else weights_folder()
    print(fetching.fetch(what, root or usual, mirror=mirror))


@app.command()
def models() -> None:
    """List the models that can be loaded by name, and the backbones with their licences."""
    from la.learn.weights.hub import KNOWN
    from la.model.backbones import BACKBONES
    from la.predict import pace

    paces = pace.kept()
    for model in KNOWN:
        print(f"{model.name}\n    {model.megabytes} MB from {model.source}; {model.licence}")
        print(f"    trained on {model.trained_on}")
        if model.name in paces:
            print(f"    {paces[model.name]} s an image on this machine")
    for spec in BACKBONES.values():
        weights = spec.weights.file_name
        print(f"backbone {spec.name}: {weights}, {spec.licence}")


@app.command()
def export(
    profile: Profile = "quick",
    data: Data = None,
    method: Method = "la",
    fold: Fold = 0,
    unseen: Unseen = None,
    ways: Ways = 1,
    shots: Shots = 1,
    seed: Seed = 0,
    everything: Annotated[
        bool, Option("--everything", help="train on all classes and images, hold out no fold")
    ] = False,
    weights: Annotated[Path | None, Option(help="file to write")] = None,
) -> None:
    """Write a trained model with its bias; by default in place of the profile's shipped model."""
    from la.experiment.job import Job
    from la.experiment.methods import method as method_of
    from la.experiment.runs import Run
    from la.experiment.setup.measurements import Measurement
    from la.files import check_writable
    from la.learn.weights import checkpoints, hub

    path = weights or hub.shipped(profile)
    check_writable(path)
    setting = Measurement(method, fold, ways, shots, seed, episodes=1)
    bench = options.workbench(profile, data, [setting], unseen)
    run = Run.of(bench, method_of(method), None if everything else fold, seed)
    source = run.train()
    # A bias is chosen on images that the model was not trained on.
    bias = 0.0 if everything else Job(bench, setting).fitted().fit.bias
    checkpoints.save(checkpoints.load(source), path, trained_on=run.trained_on, bias=bias)
    print(f"{path}: bias {bias:g}, {run.trained_on}")


@app.command("pretrain-backbone")
def pretrain_backbone(
    steps: Annotated[int, Option(help="training steps")] = 1400,
    weights: Annotated[Path | None, Option(help="file to write")] = None,
) -> None:
    """Train the weights of the tiny backbone again."""
    from la.files import check_writable
    from la.learn.pretraining import pretrain, save
    from la.model.backbones import TINY

    path = weights or TINY.weights.path()
    check_writable(path)
    save(pretrain(steps=steps, seed=0), path, steps=steps, seed=0, n_images=12_000)
    print(path)
