"""What code for the reference reads of a model because that is a module of PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pocket_tts_native.device import CPU, Device, check_device

if TYPE_CHECKING:
    from typing_extensions import Self

    from pocket_tts_native.config_view import ConfigView


def _setting(name: str, summary: str) -> Any:  # noqa: ANN401
    """A value of the configuration as an attribute that cannot be set."""

    def get(self: ModuleLike) -> Any:  # noqa: ANN401
        return getattr(self.config, name)

    get.__doc__ = summary
    return property(get)


class ModuleLike:
    """A model that stays on the CPU and whose settings are those of its configuration."""

    if TYPE_CHECKING:

        @property
        def config(self) -> ConfigView:
            """The configuration."""

    pad_with_spaces_for_short_inputs = _setting(
        "pad_with_spaces_for_short_inputs", "Whether texts of fewer than five words are padded."
    )
    remove_semicolons = _setting("remove_semicolons", "Whether `;` becomes `,`.")
    append_terminal_punctuation = _setting(
        "append_terminal_punctuation", "Whether a text without a final mark gets one."
    )
    capitalize_first_letter = _setting(
        "capitalize_first_letter", "Whether the first letter becomes a capital."
    )
    replace_characters = _setting("replace_characters", "Characters to rewrite, a copy.")
    model_recommended_frames_after_eos = _setting(
        "model_recommended_frames_after_eos", "Frames after the end of speech; None for a guess."
    )

    @property
    def device(self) -> Device:
        """Where the model computes: always `"cpu"`."""
        return CPU

    def to(self, device: object) -> Self:
        """Return the model itself: it is on the CPU and stays there.

        Raises:
            ValueError: `device` is another one.
        """
        check_device(device)
        return self

    def cpu(self) -> Self:
        """Return the model itself."""
        return self

    def eval(self) -> Self:
        """Return the model itself: there is no other mode."""
        return self
