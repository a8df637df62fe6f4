"""Functions that torch.compile leaves alone, in programs that may never load its compiler."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def run_eagerly(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Return a function that torch.compile calls instead of compiling it.

    As `torch.compiler.disable`, which imports the compiler at once: half of the time that a
    command needs to start. Here a program that compiles nothing does not import it.
    """
    disabled: Callable[Arguments, Result] | None = None

    @wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        nonlocal disabled
        if disabled is None:
            if "torch._dynamo" not in sys.modules:
                return function(*args, **kwargs)
            disabled = torch.compiler.disable(function)
            # All these wrappers are one code object, which Dynamo would compile again for each.
            sys.modules["torch._dynamo.decorators"].skip(call)
        return disabled(*args, **kwargs)

    call._torchdynamo_disable = True  # type: ignore[attr-defined]
    return call
