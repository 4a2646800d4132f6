"""Activation functions by the names that the root setting `act` accepts, for all nets."""

from torch import nn

from alexlab.errors import lookup

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "identity": nn.Identity,
}


def activation(name: str) -> type[nn.Module]:
    """Return the class of the activation `name`; its constructor needs no arguments."""
    return lookup("act", name, ACTIVATIONS)
