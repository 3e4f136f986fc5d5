"""Scripts that run in the reference environment (PyTorch and `pocket-tts` 4.0.1).

The tests start them as `python -m reference.<name>` with `PYTHONPATH=tests`; nothing in the package
under test imports them, nor does any test.
"""
