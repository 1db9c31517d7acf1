"""A step of the model, ours and the dense reference's, on the same random episodes and weights."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.flop_counter import (
    FlopCounterMode,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

from la.config import Config
from la.experiment.planning.typical import random_batch
from la.model.label_anything import LabelAnything
from la.profiles import profile
from la.types import Batch
from tests.dense_reference import DenseInputs, dense_reference

Shape = tuple[int, int, int]  # B episodes, N ways, K shots
Step = Callable[[], object]

MAE, SAM = "MAE-480/256", "SAM-1024/512"
MODELS: dict[str, Config] = {  # as published; the masked form is what is trained here
    MAE: profile("published-mae"),
    SAM: profile("paper-sam-official"),
}
SIDE = 1024  # of the matrices whose product sets the pace of a machine


def config_of(name: str, arm: str) -> Config:
    """Of an arm: "ours" and "reference" are exact, "masked" is the form that is trained here."""
    config = MODELS[name]
    mode = "masked" if arm == "masked" else "exact"
    return replace(config, model=replace(config.model, mode=mode))


def learner(config: Config) -> LabelAnything:
    """A model with random weights, the same ones each time."""
    return LabelAnything.from_config(config.model, torch.Generator().manual_seed(0)).eval()


def episodes(config: Config, shape: Shape) -> Batch:
    """Random episodes; each support image has a mask of one class, and nothing else."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        batch = random_batch(config, *shape)
    p = batch.prompts
    masks_alone = replace(
        p,
        points=p.points[:, :0],
        point_labels=p.point_labels[:, :0],
        boxes=p.boxes[:, :0],
        boxes_valid=p.boxes_valid[:, :0],
    )
    return replace(batch, prompts=masks_alone)


def dense(batch: Batch) -> DenseInputs:
    """The same episodes with every (support image, class) pair, as the reference takes them."""
    b, c = batch.class_valid.shape
    m, p = len(batch.support_episode) // b, batch.prompts
    at = p.example_support // m, p.example_support % m, p.example_row
    flags = torch.zeros(b, m, c)
    flags[at] = 1
    masks = torch.zeros(b, m, c, *p.masks.shape[1:])
    masks[at] = p.masks
    example_flags = flags.clone()
    example_flags[..., 0] = 1
    support = batch.source.support.unflatten(0, (b, m))
    return DenseInputs(
        features=torch.cat([batch.source.query[:, None], support], dim=1),
        points=torch.zeros(b, m, c, 0, 2),
        point_flags=torch.zeros(b, m, c, 0),
        boxes=torch.zeros(b, m, c, 0, 4),
        box_flags=torch.zeros(b, m, c, 0),
        masks=masks,
        mask_flags=flags,
        example_flags=example_flags,
        bank_rows=batch.token_rows[0],
    )


def our_logits(model: LabelAnything, batch: Batch) -> Callable[[], Tensor]:
    """(B, C, 4h, 4w) of ours, when called."""
    return lambda: model(batch)


def reference_logits(
    model: LabelAnything, inputs: DenseInputs, *, train: bool
) -> Callable[[], Tensor]:
    """(B, C, 4h, 4w) of the reference with the weights of `model`, when called."""
    size, weights = model.config.image_size, dict(model.state_dict())
    if train:
        for name, parameter in model.named_parameters():
            weights[name] = parameter
    return lambda: dense_reference(weights, inputs, size, model.config.n_heads).logits


def step(logits: Callable[[], Tensor], model: LabelAnything, *, train: bool) -> Step:
    """Forward, or forward and backward of a mean square; gradients are dropped at the end."""
    if not train:
        return torch.inference_mode()(logits)

    def forward_and_backward() -> None:
        logits().square().mean().backward()
        model.zero_grad(set_to_none=True)

    return forward_and_backward


def matmul() -> Step:
    """A product of two square matrices: the most that a machine does in a second."""
    left, right = torch.ones(2, SIDE, SIDE)
    return lambda: left @ right


def operations(work: Step) -> tuple[int, object]:
    """Floating-point operations of the matrix products and convolutions of a step; its result."""
    aten = torch.ops.aten
    fused = {  # which the counter does not know on a CPU
        aten._scaled_dot_product_flash_attention_for_cpu: _attention,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    }
    with FlopCounterMode(display=False, custom_mapping=fused) as counter:
        result = work()
    return counter.get_total_flops(), result


def _attention(q, k, v, *args, out_shape=None, **options) -> int:
    return sdpa_flop_count(q, k, v)


def _attention_backward(gradient, q, k, v, *args, out_shape=None, **options) -> int:
    return sdpa_backward_flop_count(gradient, q, k, v)


def profiled(work: Step, rows: int = 12) -> str:
    """Where a step's time goes: the operators with the most time of their own, as text."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, acc_events=True) as taken:
        work()
    events = sorted(taken.key_averages(), key=lambda e: -e.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    return "\n".join(
        f"{event.self_cpu_time_total / total:6.1%}  {event.self_cpu_time_total / 1000:9.1f} ms  "
        f"{event.count:4d} x {event.key}"
        for event in events[:rows]
    )
