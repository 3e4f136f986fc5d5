"""The codec on the reference's modules, in a form for training: whole stretches, no streaming state.

A causal convolution sees zeros before the stretch, a transposed one drops what it would keep for
later: what the reference's streaming layers compute from a fresh state.
"""

import torch
import torch.nn.functional as F
from pocket_tts.models.mimi import MimiModel, build_mimi
from pocket_tts.modules.conv import StreamingConv1d, StreamingConvTranspose1d
from pocket_tts.modules.seanet import SEANetResnetBlock
from pocket_tts.utils.config import MimiConfig
from torch import nn

DECODER_PARTS = ("quantizer", "upsample", "decoder_transformer", "decoder")
ENCODER_PARTS = ("encoder", "encoder_transformer", "downsample")


def _convolution(layer: StreamingConv1d, x: torch.Tensor) -> torch.Tensor:
    missing = layer._effective_kernel_size - layer._stride
    mode = "replicate" if layer.pad_mode == "replicate" else "constant"
    return layer.conv(F.pad(x, (missing, 0), mode=mode) if missing else x)


def _transposed(layer: StreamingConvTranspose1d, x: torch.Tensor) -> torch.Tensor:
    return layer.convtr(x)[..., : x.shape[-1] * layer._stride]


def _layers(layers: nn.ModuleList, x: torch.Tensor) -> torch.Tensor:
    for layer in layers:
        if isinstance(layer, StreamingConv1d):
            x = _convolution(layer, x)
        elif isinstance(layer, StreamingConvTranspose1d):
            x = _transposed(layer, x)
        elif isinstance(layer, SEANetResnetBlock):
            x = x + _layers(layer.block, x)
        else:
            x = layer(x)
    return x


class Decoder(nn.Module):
    """The decoding half of Mimi: latents to samples."""

    def __init__(self, config: MimiConfig) -> None:
        """Fresh weights."""
        super().__init__()
        mimi = build_mimi(config)
        for part in DECODER_PARTS:
            setattr(self, part, getattr(mimi, part))
        # Every channel starts with a temporal pattern of its own: the layer mixes no channels, and
        # all that happens within a frame has to be put together from these patterns.
        nn.init.normal_(self.upsample.convtr.convtr.weight, std=0.5)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """`[rows, frames, LATENT_DIM]` to `[rows, samples]`."""
        x = self.quantizer(latents.transpose(1, 2))
        x = _transposed(self.upsample.convtr, x)
        (x,) = self.decoder_transformer(x, None)
        return _layers(self.decoder.model, x)[:, 0]


class Encoder(nn.Module):
    """The encoding half of Mimi: samples to latents."""

    def __init__(self, config: MimiConfig) -> None:
        """Fresh weights."""
        super().__init__()
        mimi = build_mimi(config)
        for part in ENCODER_PARTS:
            setattr(self, part, getattr(mimi, part))

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """`[rows, samples]` to `[rows, frames, LATENT_DIM]`."""
        x = _layers(self.encoder.model, samples[:, None])
        (x,) = self.encoder_transformer(x, None)
        return _convolution(self.downsample.conv, x).transpose(1, 2)


def whole_codec(config: MimiConfig, decoder: Decoder, encoder: Encoder) -> MimiModel:
    """Mimi with the weights of both halves."""
    mimi = build_mimi(config)
    for half, parts in ((decoder, DECODER_PARTS), (encoder, ENCODER_PARTS)):
        for part in parts:
            getattr(mimi, part).load_state_dict(getattr(half, part).state_dict())
    return mimi
