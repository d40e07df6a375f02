"""Operations of a transformer in fewer passes over memory.

As transformers writes them, a norm, a rotation and their gradients are some forty operations, each
of which reads and writes all states; on a CPU that takes a fifth as long as the matrix products
between them. Here they take the place of a model's own for the length of a call.

Letters: X tokens and heads, D width, H heads, T tokens, K width of a head.
"""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from components.autograd import PassContext

# How near two orders of the same sums are. Float64 is left alone: transformers' norms compute it
# in float32.
CLOSE = {torch.float32: 1e-5, torch.bfloat16: 0.02, torch.float16: 0.02}
ROTATE = "apply_rotary_pos_emb"


class _RmsNorm(torch.autograd.Function):
    """``y = w x / sqrt(mean(x²) + eps)`` over the last dimension, in float32 inside.

    Source: Zhang and Sennrich, 2019, Root Mean Square Layer Normalization, equation 4.
    """

    @staticmethod
    def forward(ctx: PassContext, x_XD: Tensor, weight_D: Tensor, eps: float) -> Tensor:
        wide_XD = x_XD.float()
        length_X1 = torch.linalg.vector_norm(wide_XD, dim=-1, keepdim=True)
        inverse_X1 = length_X1.square_().div_(x_XD.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x_XD, weight_D, inverse_X1)
        y_XD: Tensor = (wide_XD * inverse_X1).to(x_XD.dtype).mul_(weight_D)
        return y_XD

    @staticmethod
    def backward(ctx: PassContext, *grads: Tensor) -> tuple[Tensor, Tensor | None, None]:
        x_XD, weight_D, inverse_X1 = ctx.saved_tensors
        wide_XD = x_XD.float()
        grad_D = None
        if ctx.needs_input_grad[1]:  # where the base's own weights train
            normed_XD = (wide_XD * inverse_X1).flatten(0, -2)
            grad_D = (grads[0].float().flatten(0, -2) * normed_XD).sum(0).to(weight_D.dtype)
        grad_XD = (grads[0] * weight_D).float()
        dot_X1 = torch.linalg.vecdot(grad_XD, wide_XD).unsqueeze(-1)
        share_X1 = dot_X1.mul_(inverse_X1.pow(3)).div_(-x_XD.shape[-1])
        back_XD = grad_XD.mul_(inverse_X1).addcmul_(wide_XD, share_X1)
        return back_XD.to(x_XD.dtype), grad_D, None


def _norm(module: nn.Module, x_XD: Tensor) -> Tensor:
    y_XD: Tensor = _RmsNorm.apply(x_XD, module.weight, _eps(module))  # type: ignore[no-untyped-call]
    return y_XD


def _eps(module: nn.Module) -> float | None:
    found = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    return found if isinstance(found, float) else None


class _Rotation(torch.autograd.Function):
    """``y = x cos + (-x₂, x₁) sin``, where x₁ and x₂ are the halves of a head; both are frozen.

    Source: Su et al., 2021, RoFormer, section 3.4.2, in the order of Llama's halves.
    """

    @staticmethod
    def forward(ctx: PassContext, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        y = x * cos
        half = x.shape[-1] // 2
        y[..., :half].addcmul_(x[..., half:], sin[..., :half], value=-1)
        y[..., half:].addcmul_(x[..., :half], sin[..., half:])
        return y

    @staticmethod
    def backward(ctx: PassContext, *grads: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        (grad,) = grads
        back = grad * cos
        half = grad.shape[-1] // 2
        back[..., :half].addcmul_(grad[..., half:], sin[..., half:])
        back[..., half:].addcmul_(grad[..., :half], sin[..., :half], value=-1)
        return back, None, None


def _rotate(
    q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1
) -> tuple[Tensor, Tensor]:
    """As transformers' function of that name: (1, H, T, K) turned by (1, T, K)."""
    cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
    rotated = (_Rotation.apply(x, cos, sin) for x in (q, k))  # type: ignore[no-untyped-call]
    return next(rotated), next(rotated)


@dataclass(frozen=True)
class Replacement:
    """Something that is computed here instead.

    Attributes:
        within: a module of a model, or the name of the Python module that its code is in.
        name: of what is replaced in there.
        by: what stands there instead.
    """

    within: nn.Module | str
    name: str
    by: Callable[..., object]

    @property
    def owner(self) -> nn.Module | types.ModuleType:
        """What has the name: only modules of a model can be copied with the model."""
        return sys.modules[self.within] if isinstance(self.within, str) else self.within


@torch.no_grad()
def replacements(model: nn.Module) -> list[Replacement]:
    """What of a model can be computed here.

    Operations are matched numerically, by output, not by name: norms that add one to their weights,
    say, or rotations of neighbours instead of halves, are left as they are.
    """
    norms = [
        Replacement(module, "forward", types.MethodType(_norm, module))
        for module in model.modules()
        if _is_norm(module)
    ]
    codes = {type(module).__module__ for module in model.modules()}
    dtype = next((p.dtype for p in model.parameters()), torch.float32)
    return norms + [
        Replacement(code, ROTATE, _rotate)
        for code in sorted(codes)
        if _is_rotation(getattr(sys.modules[code], ROTATE, None), dtype)
    ]


@contextmanager
def fused(found: Sequence[Replacement]) -> Iterator[None]:
    """Use the fused replacements inside this context."""
    before = [vars(one.owner).get(one.name) for one in found]
    try:
        for one in found:
            setattr(one.owner, one.name, one.by)
        yield
    finally:
        for one, was in zip(found, before, strict=True):
            if was is None:
                delattr(one.owner, one.name)
            else:
                setattr(one.owner, one.name, was)


def _is_norm(module: nn.Module) -> bool:
    parameters = dict(module.named_parameters())
    if list(parameters) != ["weight"] or parameters["weight"].dim() != 1 or _eps(module) is None:
        return False
    weight = parameters["weight"]
    if weight.dtype not in CLOSE:
        return False
    # Rows of several sizes, so that eps and what is summed can be told.
    x_XD = torch.linspace(-2, 3, 4 * len(weight), device=weight.device).view(4, -1)
    x_XD = (x_XD * torch.tensor([1e-3, 0.1, 1, 30], device=weight.device)[:, None]).to(weight.dtype)
    try:
        return _close(module(x_XD), _norm(module, x_XD))
    except Exception:  # another signature: not an operation of this kind
        return False


def _is_rotation(function: Callable[..., tuple[Tensor, Tensor]] | None, dtype: torch.dtype) -> bool:
    if function is None or dtype not in CLOSE:
        return False
    if list(inspect.signature(function).parameters) != list(inspect.signature(_rotate).parameters):
        return False
    q, k, cos, sin = (
        torch.linspace(-1, 1, torch.Size(shape).numel()).sin().to(dtype).view(shape)
        for shape in ((1, 3, 5, 8), (1, 1, 5, 8), (1, 5, 8), (1, 5, 8))
    )
    try:
        want, got = function(q, k, cos, sin.flip(-1)), _rotate(q, k, cos, sin.flip(-1))
        return all(_close(one, other) for one, other in zip(want, got, strict=True))
    except Exception:  # as above
        return False


def _close(want: Tensor, got: Tensor) -> bool:
    close = CLOSE[want.dtype]
    return bool(torch.allclose(want, got, rtol=close, atol=close * float(want.abs().max())))
