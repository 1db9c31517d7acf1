"""Stop and resume, bitwise repetition, worker processes, and a checkpoint that changes device."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

import la
from la.config import Config
from la.experiment.methods import METHODS
from la.experiment.runs import Run
from la.experiment.setup.measurements import Measurement
from la.learn.device import to_device
from la.learn.training import Stopped
from la.types import Batch, map_tensors
from tests.on_gpu.fitting import short
from tests.on_gpu.place import CPU, Figures, Place, computing_on, difference

STOP, STEPS = 5, 12


@contextmanager
def deterministic() -> Iterator[None]:
    """In this block torch uses deterministic kernels, as with LA_DETERMINISTIC=1."""
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def resume(place: Place) -> Iterator[Figures]:
    """A run that was stopped and resumed ends as an undisturbed one; its model loads on a CPU."""
    config = short(f"quick@{STEPS}")
    whole = _trained(place, config, "whole", stops=False)
    again = _trained(place, config, "again", stops=False)
    yield {"compared": "two undisturbed runs", **_largest(again, whole)}
    resumed = _trained(place, config, "resumed", stops=True)
    error = _largest(resumed, whole)
    yield {"compared": "a resumed run", **error}
    assert error["relative"] < 0.02

    with deterministic():
        whole_bits = _trained(place, config, "whole deterministic", stops=False)
        resumed_bits = _trained(place, config, "resumed deterministic", stops=True)
    error = _largest(resumed_bits, whole_bits)
    yield {"compared": "a resumed run, deterministic", **error}
    assert error["max_abs"] == 0

    bench = place.bench(config, "whole")
    with computing_on(CPU):
        episodes = bench.episodes(Measurement("", 0, 2, 1, seed=0, episodes=4))
        batch = bench.loader(bench.data.test, 0)(episodes)
        model = la.load(Run.of(bench, METHODS["la"], fold=0, seed=0).model)
    with torch.inference_mode():
        on_cpu = model(to_device(batch, CPU))
        on_device = model.to(place.device)(to_device(batch, place.device))
    error = difference(on_device, on_cpu)
    yield {"compared": "logits of the checkpoint on a CPU", **error}
    assert error["relative"] < 1e-2


def _trained(place: Place, config: Config, home: str, *, stops: bool) -> dict[str, Tensor]:
    """The weights after training on the device, in one call or in two."""
    bench = place.bench(config, home)
    with computing_on(place.device):
        run = Run.of(bench, METHODS["la"], fold=0, seed=0)
        if stops:
            try:
                run.train(stop_after=STOP)
            except Stopped:
                pass
            else:
                raise AssertionError("the run did not stop")
        path = run.train()
    return dict(la.load(path).state_dict())


def _largest(ours: dict[str, Tensor], reference: dict[str, Tensor]) -> Figures:
    """The difference of all weights together."""
    names = sorted(reference)
    return difference(
        torch.cat([ours[name].flatten().float() for name in names]),
        torch.cat([reference[name].flatten().float() for name in names]),
    )


def workers(place: Place) -> Iterator[Figures]:
    """Batches of worker processes, started in both ways beside a live GPU, are the direct ones."""
    config = short("quick@4")
    bench = place.bench(config, "workers")
    with computing_on(place.device):
        batches = Run.of(bench, METHODS["la"], fold=0, seed=0)._batches()
        torch.ones(1, device=place.device)  # the GPU is in use before the processes start
        direct = [batches[number] for number in range(6)]
        for method in ("fork", "forkserver"):
            loaded = batches.loaded(
                list(range(6)),
                n_workers=2,
                pin_memory=place.device.type == "cuda",
                start_method=method,
            )
            moved = [to_device(batch, place.device) for batch in loaded]
            pairs = zip(moved, direct, strict=True)
            equal = [_equal(ours, to_device(reference, CPU)) for ours, reference in pairs]
            yield {"start_method": method, "batches": len(equal), "equal": all(equal)}
            assert all(equal)


def _equal(ours: Batch, reference: Batch) -> bool:
    """Whether all tensors of two batches are equal."""
    tensors: list[Tensor] = []
    map_tensors(ours, lambda tensor: tensors.append(tensor.cpu()) or tensor)
    others: list[Tensor] = []
    map_tensors(reference, lambda tensor: others.append(tensor) or tensor)
    return all(torch.equal(a, b) for a, b in zip(tensors, others, strict=True))
