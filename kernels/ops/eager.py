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
                      backward: Callable[..., Any]) -> Callable[..., Any]:
    """`forward(*inputs)` with the gradients of `backward(ctx, *grads)`; `save(ctx, inputs, output)` comes between.

    Args:
        name: what profilers print for the forward pass.
        forward: at most its first output has a gradient.

    Returns:
        A function of the inputs of `forward`.
    """

    def forward_and_save(ctx: Any, *inputs: Any) -> Any:
        output = forward(*inputs)
        ctx.set_materialize_grads(False)
        save(ctx, inputs, output)
        return output

    def backward_where_any(ctx: Any, *grads: Any) -> Any:
        if grads[0] is None:  # only the first output has a gradient, and nothing used it
            return (None,) * len(ctx.needs_input_grad)
        return backward(ctx, *grads)

    once = torch.autograd.function.once_differentiable(backward_where_any)
    made: Any = type(name, (torch.autograd.Function,), {
        "forward": staticmethod(forward_and_save), "backward": staticmethod(once), "__doc__": forward.__doc__})
    apply: Callable[..., Any] = made.apply
    return apply
