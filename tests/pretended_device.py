"""A pretended accelerator: its tensors hold values on the CPU, and mixing devices is an error.

`DEVICE` is a backend that torch lets Python register. A tensor there wraps a CPU tensor.
Each operator runs on the wrapped values, with the rules of a GPU:

- all tensors of an operator are on one device, except scalars and the indices of indexing;
- random numbers come from a generator of the same device;
- reading a value, a copy to the CPU, a copy from memory that is not page-locked and an
  output whose size depends on values make the host wait for the device: `WAITS` has the
  operator and the line of `la` for each wait.

Registering a backend cannot be undone, and tensors of inference mode cannot be wrapped, so
that here it is `no_grad`. Import this module in a process of its own, before any of `la`.
"""

import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing


class _Hooks(backend_registration._DummyPrivateUse1Hook):
    def has_primary_context(self, dev_id: int) -> bool:
        return False


class _Module(backend_registration._DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


backend_registration._setup_privateuseone_for_python_backend(
    "pretended", backend_module=_Module(), hook=_Hooks()
)


def _no_grad(mode: bool = True) -> AbstractContextManager:
    return torch.no_grad() if mode else nullcontext()


torch.inference_mode = _no_grad  # type: ignore[misc, assignment]
DEVICE = torch.device("pretended:0")
WAITS: list[tuple[str, str]] = []  # operator, and "file:line" in `la`

COPIES = {"_to_copy", "copy_"}
INDEXING = {"index", "_unsafe_index", "index_put", "index_put_", "_index_put_impl_"}
SIZE_DEPENDS_ON_VALUES = {
    "nonzero",
    "bincount",
    "masked_select",
    "unique_dim",
    "_unique2",
}
READS_A_VALUE = {"_local_scalar_dense", "equal", "is_nonzero"}


class MixedDevices(RuntimeError):
    """An operator got tensors of the CPU and of the device."""


class PretendedTensor(Tensor):
    """A tensor on `DEVICE`, whose values are those of a CPU tensor."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, values: Tensor) -> "PretendedTensor":
        return Tensor._make_wrapper_subclass(
            cls,
            values.size(),
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=DEVICE,
        )

    def __init__(self, values: Tensor) -> None:
        self.values_on_cpu = values

    def __repr__(self) -> str:
        return f"PretendedTensor({self.values_on_cpu})"

    def tolist(self) -> Any:
        WAITS.append(("tolist", _place()))
        return self.values_on_cpu.tolist()

    @classmethod
    def __torch_dispatch__(
        cls, operator: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        return _run(operator, args, kwargs or {})


class _Operators(TorchDispatchMode):
    """Runs operators without tensor arguments, which can make tensors on the device."""

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        return _run(operator, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """What torch does in other ways on a GPU than on a registered backend.

    `torch.tensor` fills the memory of a device itself; here it copies a tensor there.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if function is Tensor.__setitem__:
            _count_number_set_at_indices(*args)
        if function is not torch.tensor:
            return function(*args, **kwargs)
        device = kwargs.pop("device", None)
        return function(*args, **kwargs).to(device or "cpu")


def _count_number_set_at_indices(target: Tensor, index: Any, value: Any) -> None:
    """On a GPU `target[indices] = 1` copies the number from the CPU, and waits."""
    has_indices = bool(_tensors(index if isinstance(index, tuple) else (index,)))
    if isinstance(target, PretendedTensor) and has_indices and not isinstance(value, Tensor):
        WAITS.append(("__setitem__", _place()))


@contextmanager
def pretending() -> Iterator[None]:
    """In this block tensors can be made on `DEVICE`."""
    with _Operators(), _Functions():
        yield


def _run(operator: Any, args: tuple, kwargs: dict) -> Any:
    """An operator on the wrapped values, after a check of the devices."""
    name = operator._schema.name.removeprefix("aten::")
    if name == "_has_compatible_shallow_copy_type":
        return False  # a module gets new parameters when it is moved
    tensors = _tensors((*args, *kwargs.values()))
    on_device = any(isinstance(tensor, PretendedTensor) for tensor in tensors)
    goes_to_device = _goes_to_device(name, args, kwargs, on_device)
    if not on_device and not goes_to_device:
        return operator(*_on_cpu(args), **{key: _on_cpu(v) for key, v in kwargs.items()})
    if name not in COPIES:
        _check(name, args, kwargs)
    if _waits(name, args, kwargs, goes_to_device):
        WAITS.append((name, _place()))
    result = operator(*_on_cpu(args), **{key: _on_cpu(v) for key, v in kwargs.items()})
    if not goes_to_device:
        return result
    result = _wrapped(result)
    if on_device and name != "_to_copy":
        return return_and_correct_aliasing(operator, args, kwargs, result)
    return result


def _goes_to_device(name: str, args: tuple, kwargs: dict, on_device: bool) -> bool:
    """Whether the result of an operator is on the device."""
    if name == "_local_scalar_dense":
        return False
    if name == "copy_":
        return isinstance(args[0], PretendedTensor)
    device = kwargs.get("device")
    return on_device if device is None else torch.device(device).type == DEVICE.type


def _check(name: str, args: tuple, kwargs: dict) -> None:
    """Raise MixedDevices if a GPU would reject these arguments."""
    if kwargs.get("generator") is not None:
        raise MixedDevices(f"{name} got a generator of the CPU at {_place()}")
    if name in INDEXING and isinstance(args[0], PretendedTensor):
        args = (args[0], *args[2:])  # indices may be on the CPU
    for tensor in _tensors((*args, *kwargs.values())):
        if not isinstance(tensor, PretendedTensor) and tensor.ndim > 0:
            shape = tuple(tensor.shape)
            raise MixedDevices(f"{name} got a tensor {shape} of the CPU at {_place()}")


def _waits(name: str, args: tuple, kwargs: dict, goes_to_device: bool) -> bool:
    """Whether the host waits until the device has run all that was asked of it before."""
    if name in COPIES:
        source = args[1] if name == "copy_" else args[0]
        if isinstance(source, PretendedTensor) == goes_to_device:
            return False
        asynchronous = kwargs.get("non_blocking") or (name == "copy_" and args[2:] == (True,))
        return not (asynchronous and goes_to_device)
    if name in INDEXING:
        return any(index.dtype == torch.bool for index in _tensors(args[1]))
    if name == "repeat_interleave":
        return kwargs.get("output_size") is None
    return name in READS_A_VALUE or name in SIZE_DEPENDS_ON_VALUES


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    """The tensors among values and in lists among them."""
    tensors = []
    for value in values:
        if isinstance(value, Tensor):
            tensors.append(value)
        elif isinstance(value, list | tuple):
            tensors += _tensors(value)
    return tensors


def _on_cpu(value: Any) -> Any:
    """An argument with the wrapped values, and with the CPU for the device."""
    if isinstance(value, PretendedTensor):
        return value.values_on_cpu
    if isinstance(value, torch.device):
        return torch.device("cpu")
    if isinstance(value, list | tuple):
        return type(value)(_on_cpu(part) for part in value)
    return value


def _wrapped(result: Any) -> Any:
    """A result with its tensors on the device."""
    if isinstance(result, Tensor):
        return PretendedTensor(result)
    if isinstance(result, list | tuple):
        return type(result)(_wrapped(part) for part in result)
    return result


def _place() -> str:
    """The innermost line of `la` that is being executed."""
    for frame in reversed(traceback.extract_stack()):
        _, is_ours, path = frame.filename.rpartition("/la/")
        if is_ours and "site-packages" not in frame.filename:
            return f"{path}:{frame.lineno}"
    return "outside of la"


def waits_of(call: Callable[[], object]) -> list[tuple[str, str]]:
    """The waits during a call."""
    before = len(WAITS)
    call()
    return WAITS[before:]
