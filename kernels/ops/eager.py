"""The short way into an operation: eager CPU tensors skip the dispatcher, whose cost exceeds that of small steps.

The same code runs as a `torch.autograd.Function`; everything else (other devices, torch.compile, tracing, torch.func,
tensor subclasses) takes the registered operation. The tests hold the results of both equal, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_PLAIN = (Tensor, torch.nn.Parameter)


def is_plain(*tensors: Tensor) -> bool:
    """Whether these are ordinary CPU tensors and nothing is tracing or transforming the program."""
    if torch.compiler.is_compiling():
        return False
    if torch._C._len_torch_dispatch_stack() or torch._C._are_functorch_transforms_active():
        return False
    return all(type(tensor) in _PLAIN and tensor.device.type == "cpu" for tensor in tensors)


def autograd_function(name: str, forward: Callable[..., Any], save: Callable[..., None],
                      backward: Callable[..., Any], leaves: int, results: int) -> Callable[..., Any]:
    """`forward(*inputs)` with the gradients of `backward(ctx, *grads)`; `save(ctx, inputs, output)` comes between.

    Each argument and result of a `torch.autograd.Function` costs about a microsecond, so only what autograd must see
    goes through it.

    Args:
        name: what profilers print for the forward pass.
        forward: at most its first output has a gradient. One output, or a tuple.
        save, backward: as for the registered operation; `backward` returns one gradient per input, None for all but
            the first `leaves`.
        leaves: how many inputs, from the first on, may need a gradient.
        results: how many outputs, from the first on, the caller gets; 0 for the only one of a single output.

    Returns:
        A function of the inputs of `forward`.
    """

    def forward_and_save(ctx: Any, *given: Any) -> Any:
        inputs = given[:leaves] + given[leaves]
        output = forward(*inputs)
        ctx.set_materialize_grads(False)
        save(ctx, inputs, output)
        return output[:results] if results else output

    def gradients(ctx: Any, *grads: Any) -> Any:
        if grads[0] is None:  # only the first output has a gradient, and nothing used it
            return (None,) * (leaves + 1)
        return *backward(ctx, *grads)[:leaves], None

    once = torch.autograd.function.once_differentiable(gradients)

    def gradients_once(ctx: Any, *grads: Any) -> Any:
        return (once if torch.is_grad_enabled() else gradients)(ctx, *grads)

    made: Any = type(name, (torch.autograd.Function,), {"forward": staticmethod(forward_and_save),
                                                        "backward": staticmethod(gradients_once),
                                                        "__doc__": forward.__doc__})
    apply: Callable[..., Any] = made.apply

    def operation(*inputs: Any) -> Any:
        if torch.is_grad_enabled() and any(leaf is not None and leaf.requires_grad for leaf in inputs[:leaves]):
            return apply(*inputs[:leaves], inputs[leaves:])
        output = forward(*inputs)
        return output[:results] if results else output

    return operation
