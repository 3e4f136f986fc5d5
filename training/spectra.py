"""Distances between sounds, and the critic that tells real from made ones."""

import torch
import torch.nn.functional as F
from torch import nn

from training.features import mel_filters

# FFT sizes in samples; each with a hop of a quarter. Short ones see pulses, long ones harmonics.
RESOLUTIONS = (128, 256, 512, 1024)
# FFT sizes and mel bands: envelopes, which keep their value where single bins are chance. The last
# resolves the harmonics of a voice; the shorter ones see when a sound begins and ends.
MEL_FFT_SAMPLES = 1024
MEL_BANDS = 80
SHORT_MELS = ((256, 24), (512, 48))
FLOOR = 1e-3


def magnitudes(samples: torch.Tensor, fft: int) -> torch.Tensor:
    """`[rows, bins, frames]` of `[rows, samples]`."""
    window = torch.hann_window(fft, device=samples.device)
    spectrum = torch.stft(samples, fft, fft // 4, window=window, center=False, return_complex=True)
    return (spectrum.real.square() + spectrum.imag.square() + 1e-9).sqrt()


class SpectralLoss(nn.Module):
    """Log magnitudes at several resolutions, and log-mel amplitudes."""

    def __init__(self) -> None:
        """Make the filters."""
        super().__init__()
        for fft, bands in (*SHORT_MELS, (MEL_FFT_SAMPLES, MEL_BANDS)):
            filters = torch.from_numpy(mel_filters(bands, fft)).T.contiguous()
            self.register_buffer(f"filters_{fft}", filters)

    def mel_distance(
        self, made: torch.Tensor, real: torch.Tensor, fft: int = MEL_FFT_SAMPLES
    ) -> torch.Tensor:
        """Mean absolute difference of log-mel amplitudes, in nepers."""
        filters = self.get_buffer(f"filters_{fft}")
        floor = 10 * FLOOR * fft / MEL_FFT_SAMPLES
        mels = [filters @ magnitudes(samples, fft) for samples in (made, real)]
        return F.l1_loss(mels[0].clamp_min(floor).log(), mels[1].clamp_min(floor).log())

    def forward(self, made: torch.Tensor, real: torch.Tensor) -> dict[str, torch.Tensor]:
        """`mel`, `short_mel`, `log` and `linear` distances."""
        log_sum = linear_sum = torch.zeros((), device=made.device)
        for fft in RESOLUTIONS:
            a, b = magnitudes(made, fft), magnitudes(real, fft)
            scale = fft**0.5
            log_sum = log_sum + F.l1_loss((a / scale + FLOOR).log(), (b / scale + FLOOR).log())
            linear_sum = linear_sum + (a - b).norm() / b.norm().clamp_min(1.0)
        n = len(RESOLUTIONS)
        short = [self.mel_distance(made, real, fft) for fft, _ in SHORT_MELS]
        return {
            "mel": self.mel_distance(made, real),
            "short_mel": torch.stack(short).mean(),
            "log": log_sum / n,
            "linear": linear_sum / n,
        }


class _SpectrogramCritic(nn.Module):
    def __init__(self, fft: int, width: int) -> None:
        super().__init__()
        self.fft = fft
        sizes = [2, width, width, 2 * width, 2 * width]
        self.layers = nn.ModuleList(
            nn.utils.parametrizations.weight_norm(
                nn.Conv2d(
                    sizes[i],
                    sizes[i + 1],
                    (7 if i == 0 else 5, 3),
                    stride=(4 if i == 0 else 2, 1),
                    padding=(2, 1),
                )
            )
            for i in range(len(sizes) - 1)
        )
        self.last = nn.utils.parametrizations.weight_norm(nn.Conv2d(sizes[-1], 1, 3, padding=1))

    def forward(self, samples: torch.Tensor) -> list[torch.Tensor]:
        window = torch.hann_window(self.fft, device=samples.device)
        spectrum = torch.stft(
            samples,
            self.fft,
            self.fft // 4,
            window=window,
            center=False,
            normalized=True,
            return_complex=True,
        )
        # Compressed, or loud vowels would be all that it sees.
        size = (spectrum.real.square() + spectrum.imag.square() + 1e-7).pow(-0.35)
        x = torch.stack([spectrum.real * size, spectrum.imag * size], dim=1)
        found = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            found.append(x)
        return [*found, self.last(x)]


class Critic(nn.Module):
    """Looks at the complex spectrogram at three resolutions."""

    def __init__(self, width: int = 16) -> None:
        """Fresh weights."""
        super().__init__()
        self.parts = nn.ModuleList(_SpectrogramCritic(fft, width) for fft in (256, 512, 1024))

    def forward(self, samples: torch.Tensor) -> list[list[torch.Tensor]]:
        """Per resolution what each layer found, the verdicts last."""
        return [part(samples) for part in self.parts]


def critic_loss(real: list[list[torch.Tensor]], made: list[list[torch.Tensor]]) -> torch.Tensor:
    """Hinge loss of the critic."""
    return sum(
        (
            F.relu(1 - r[-1]).mean() + F.relu(1 + m[-1]).mean()
            for r, m in zip(real, made, strict=True)
        ),
        torch.zeros(()),
    ) / len(real)


def decoder_losses(
    real: list[list[torch.Tensor]], made: list[list[torch.Tensor]]
) -> dict[str, torch.Tensor]:
    """What the decoder wants: to be taken for real, and to be found the same."""
    adversarial = sum((-m[-1].mean() for m in made), torch.zeros(())) / len(made)
    matching = torch.zeros(())
    for r, m in zip(real, made, strict=True):
        for a, b in zip(r[:-1], m[:-1], strict=True):
            matching = matching + F.l1_loss(b, a.detach()) / a.detach().abs().mean().clamp_min(1e-3)
    return {"adversarial": adversarial, "matching": matching / (len(real) * (len(real[0]) - 1))}
