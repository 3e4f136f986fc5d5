"""Training of the embedded voice; needs PyTorch, no part of the wheel."""
