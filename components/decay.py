"""Which parameters weight decay shrinks, and which it leaves alone."""

from __future__ import annotations

from torch import nn


def split_parameters(module: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Split what trains: the parameters that decay, and those that do not.

    Weight decay pulls towards zero. That regularises a weight matrix; it only distorts a bias, a
    norm's scale, a temperature, or a vector that is compared with others, such as the query of an
    attention. So a parameter decays if it has two dimensions or more, unless the module that owns
    it names it in its class attribute ``undecayed``. No length is counted: a query stored as one
    row a head has two dimensions, and must be named.

    Source: as in the training code of GPT-2 and BERT (no decay of biases and LayerNorm), with the
    rule by dimensions of Karpathy's nanoGPT.

    Returns:
        Both in the order of ``module.named_parameters()``.
    """
    named = undecayed_names(module)
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            (kept if name in named else decayed).append(parameter)
    return decayed, kept


def undecayed_names(module: nn.Module) -> set[str]:
    """Dotted names of all parameters, trained or not, that weight decay leaves alone."""
    names: set[str] = set()
    for prefix, part in module.named_modules():
        declared = getattr(part, "undecayed", ())
        own = dict(part.named_parameters(recurse=False))
        unknown = [name for name in declared if not hasattr(part, name)]
        assert not unknown, f"{type(part).__name__}.undecayed names no attribute: {unknown}"
        names |= {
            f"{prefix}.{name}" if prefix else name
            for name, parameter in own.items()
            if parameter.ndim < 2 or name in declared
        }
    return names
