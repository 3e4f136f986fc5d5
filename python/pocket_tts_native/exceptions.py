"""The exceptions of this package.

Faults of the file system are the builtin `FileNotFoundError`, `PermissionError` and `OSError`;
arguments that make no sense are `TypeError` and `ValueError`. What is left has a class here.
"""


class PocketTTSError(Exception):
    """Base class of every exception that this package defines."""


class ModelFormatError(PocketTTSError, ValueError):
    """A configuration, weights file or tokenizer is damaged or does not fit the others."""


class VoiceStateError(PocketTTSError, ValueError):
    """A saved voice state is damaged or belongs to another model."""


class UnsupportedError(PocketTTSError):
    """The request is valid but this version cannot serve it."""


class InternalError(PocketTTSError):
    """A fault of this package, to be reported."""
