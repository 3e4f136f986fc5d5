"""Print the public names of the reference with their parameters, as JSON.

    PYTHONPATH=tests $POCKET_REFERENCE_PYTHON -m reference.api_surface > tests/fixtures/reference_api.json

`functions` maps a name, with its class, to `[parameter, kind, default]` each; a parameter without a
default has `"required"`. `attributes` are what an instance has besides: those of the class, and
those that its constructor sets.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from typing import Any

import pocket_tts
import typer.main
from pocket_tts.main import cli_app
from torch import nn


def parameters(function: Any) -> list[list[str]]:  # noqa: ANN401
    """Name, kind and default of each parameter but `self`."""
    return [
        [p.name, p.kind.name, "required" if p.default is p.empty else repr(p.default)]
        for p in inspect.signature(function).parameters.values()
        if p.name != "self"
    ]


def instance_attributes(cls: type) -> set[str]:
    """Names that methods assign to `self.…` or to a model that they make."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id in {"self", "tts_model"}
    }


def surface() -> dict[str, Any]:
    """Everything public."""
    functions: dict[str, Any] = {}
    attributes: dict[str, Any] = {}
    for name in pocket_tts.__all__:
        value = getattr(pocket_tts, name)
        if not inspect.isclass(value):
            functions[name] = parameters(value)
            continue
        inherited = {n for base in value.__mro__[1:] for n in vars(base)}
        names = {n for n in vars(value) if n not in inherited or n not in vars(nn.Module)}
        own = {n for n in names if not n.startswith("_")}
        methods = {n for n in own if callable(getattr(value, n))}
        functions |= {f"{name}.{n}": parameters(getattr(value, n)) for n in methods}
        attributes[name] = sorted((own - methods) | instance_attributes(value))
    group: Any = typer.main.get_command(cli_app)
    options = {
        command.name: {
            (max(p.opts, key=len) if p.param_type_name == "option" else p.name): repr(p.default)
            for p in command.params
        }
        for command in group.commands.values()
    }
    return {"functions": functions, "attributes": attributes, "commands": options}


if __name__ == "__main__":
    print(json.dumps(surface(), indent=1, sort_keys=True))
