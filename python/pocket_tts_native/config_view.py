"""A model's configuration as attributes, as users of the reference read it."""

from __future__ import annotations

import copy
from typing import Any


class ConfigView:
    """The values of a configuration, to be read only: `model.config.mimi.sample_rate`."""

    __slots__ = ("_values",)
    _values: dict[str, Any]

    def __init__(self, values: dict[str, Any]) -> None:
        """Show `values`, nested dictionaries by name."""
        object.__setattr__(self, "_values", values)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        """Tell the value of a key; a section is another view."""
        if name.startswith("_") or name not in self._values:
            raise AttributeError(f"the configuration has no key {name!r}")
        value = self._values[name]
        if not isinstance(value, dict):
            return copy.copy(value)
        return dict(value) if name == "replace_characters" else ConfigView(value)

    def __setattr__(self, name: str, _value: object) -> None:
        """Refuse: a loaded model does not change."""
        raise AttributeError(
            f"the configuration of a loaded model is fixed; {name!r} cannot be set"
        )

    def __delattr__(self, name: str) -> None:
        """Refuse: a loaded model does not change."""
        raise AttributeError(
            f"the configuration of a loaded model is fixed; {name!r} cannot be deleted"
        )

    def __dir__(self) -> list[str]:
        """The keys and the methods."""
        return [*self._values, "model_dump"]

    def __eq__(self, other: object) -> bool:
        """Compare the values."""
        return self._values == other._values if isinstance(other, ConfigView) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[type[ConfigView], tuple[dict[str, Any]]]:
        """Let copies and pickles be made although attributes cannot be set."""
        return ConfigView, (self._values,)

    def __repr__(self) -> str:
        """Show all values."""
        return f"ConfigView({self._values!r})"

    def model_dump(self) -> dict[str, Any]:
        """Copy all values as nested dictionaries."""
        return copy.deepcopy(self._values)
