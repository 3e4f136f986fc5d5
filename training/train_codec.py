"""Trains the codec's halves in legs: `python -m training.train_codec decoder --minutes 60`.

The decoder learns to speak the fixed latents (`features.py`): spectral losses first, with
`--adversarial` against a critic as well. The encoder learns to compute the latents from samples.
Continues from this machine's full state, else from the weights that the package carries, else afresh.
"""

import argparse
import time
from contextlib import nullcontext
from functools import partial

import numpy as np
import torch
from torch import nn

from training.codec import Decoder, Encoder
from training.codec_data import Stretches
from training.common import (
    Ema,
    Log,
    Means,
    StopRequest,
    add_shared_options,
    load_configuration,
    load_full,
    load_restart_point,
    save_full,
    save_small,
)
from training.features import DECODER_DELAY_SAMPLES, FRAME_SAMPLES, Pca
from training.muon import muon_and_adamw
from training.paths import data_folder, shards_of
from training.spectra import Critic, SpectralLoss, critic_loss, decoder_losses
from training.train_lm import latent_weight, silence_latent

REPORT_STEPS = 250
EMA_DECAY = 0.999
# The first frames of a stretch lack the past that the layers look at.
WARM_FRAMES = 3
LATENT_NOISE = 0.05
WEIGHTS = {
    "mel": 1.0,
    "short_mel": 1.0,
    "log": 1.0,
    "linear": 0.3,
    "adversarial": 0.3,
    "matching": 1.0,
}


class _DecoderTraining:
    def __init__(self, arguments: argparse.Namespace, device: torch.device) -> None:
        self.module = Decoder(load_configuration().mimi).to(device)
        self._loss = SpectralLoss().to(device)
        self._critic = Critic().to(device) if arguments.adversarial else None
        self.critic_optimizer = (
            torch.optim.AdamW(self._critic.parameters(), lr=arguments.rate, betas=(0.5, 0.9))
            if self._critic
            else None
        )
        self.critic = self._critic

    def losses(self, samples: torch.Tensor, latents: torch.Tensor) -> dict[str, torch.Tensor]:
        made = self.module(latents + LATENT_NOISE * torch.randn_like(latents))
        made, real = (sound[:, WARM_FRAMES * FRAME_SAMPLES :].float() for sound in (made, samples))
        losses = self._loss(made, real)
        if self._critic and self.critic_optimizer:
            self.critic_optimizer.zero_grad(set_to_none=True)
            loss = critic_loss(self._critic(real), self._critic(made.detach()))
            loss.backward()
            self.critic_optimizer.step()
            self._critic.requires_grad_(False)
            losses |= decoder_losses(self._critic(real), self._critic(made))
            self._critic.requires_grad_(True)
        return losses

    @torch.no_grad()
    def validate(self, samples: torch.Tensor, latents: torch.Tensor) -> dict[str, float]:
        losses = self._loss(self.module(latents), samples)
        return {f"held_out_{name}": float(value) for name, value in losses.items()}


class _EncoderTraining:
    critic = None
    critic_optimizer = None

    def __init__(self, arguments: argparse.Namespace, device: torch.device) -> None:
        del arguments
        self.module = Encoder(load_configuration().mimi).to(device)
        self._weight = latent_weight(Pca.load(data_folder() / "pca.npz")).to(device)

    def losses(self, samples: torch.Tensor, latents: torch.Tensor) -> dict[str, torch.Tensor]:
        # Prompts come at any loudness.
        errors = (self.module(samples) - latents)[:, WARM_FRAMES:].square() * self._weight
        return {"regression": errors.mean()}

    @torch.no_grad()
    def validate(self, samples: torch.Tensor, latents: torch.Tensor) -> dict[str, float]:
        return {
            f"held_out_{name}": float(value)
            for name, value in self.losses(samples, latents).items()
        }


def make_optimizers(
    module: nn.Module, rate: float, products: torch.dtype = torch.float32
) -> dict[str, torch.optim.Optimizer]:
    """Muon for the layers of the transformer, residual blocks and transposed convolutions."""
    inner = r"transformer\.layers|(encoder|decoder)\.model\.\d+\.(block|convtr)"
    return muon_and_adamw(module, inner, rate, betas=(0.8, 0.95), products=products)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("half", choices=("decoder", "encoder"))
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--frames", type=int, default=13)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument(
        "--final-rate", type=float, default=1e-3, help="reached in a straight line at the leg's end"
    )
    parser.add_argument("--warmup", type=int, default=100)
    parser.add_argument("--adversarial", action="store_true")
    parser.add_argument(
        "--own-share",
        type=float,
        default=0.0,
        help="share of stretches with latents of the language model's own; needs training.own_latents",
    )
    add_shared_options(parser)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    device = torch.device(arguments.device)
    is_mixed = arguments.bf16 or device.type == "cuda"
    autocast = torch.autocast(device.type, torch.bfloat16) if is_mixed else nullcontext()
    folder = data_folder()
    silence = silence_latent(Pca.load(folder / "pca.npz"))
    stretches = folder / "stretches"
    data = Stretches(shards_of(folder), stretches, silence)
    if arguments.own_share and arguments.half == "encoder":
        parser.error("--own-share is for the decoder: the encoder learns the true latents")
    if arguments.own_share and not data.has_own:
        parser.error("--own-share needs latents of the language model: run training.own_latents")
    delay = DECODER_DELAY_SAMPLES if arguments.half == "decoder" else 0
    draw = partial(data.draw, delay=delay)
    held_out = [part.to(device) for part in draw(24, 25, np.random.default_rng(12345))]

    training = (_DecoderTraining if arguments.half == "decoder" else _EncoderTraining)(
        arguments, device
    )
    module = training.module
    ema = Ema(module, EMA_DECAY)
    optimizers = make_optimizers(
        module, arguments.rate, torch.bfloat16 if is_mixed else torch.float32
    )
    full = folder / "runs" / f"{arguments.half}.pt"
    critic_path = folder / "runs" / "critic.pt"
    step, warm_from = 0, 0
    if full.exists():
        step = load_full(full, module, ema, **optimizers)
        warm_from = step - arguments.warmup
    elif not arguments.fresh and load_restart_point(module, arguments.half):
        ema = Ema(module, EMA_DECAY)
    if training.critic and critic_path.exists():
        state = torch.load(critic_path, map_location="cpu", weights_only=True)
        training.critic.load_state_dict(state["model"])
        training.critic_optimizer.load_state_dict(state["optimizer"])

    def save() -> None:
        save_full(full, module, ema, step, **optimizers)
        save_small(ema.values, folder / "runs" / f"{arguments.half}.safetensors")
        if training.critic:
            state = {
                "model": training.critic.state_dict(),
                "optimizer": training.critic_optimizer.state_dict(),
            }
            torch.save(state, critic_path)

    def report(**kind: object) -> None:
        ema.swap(module)
        results = training.validate(*held_out)
        ema.swap(module)
        log.write(**kind, step=step, **means.take(), **results)

    log = Log(arguments.half)
    n_values = sum(value.numel() for value in module.parameters())
    log.write(leg="start", step=step, values=n_values, **vars(arguments))
    generator = np.random.default_rng([arguments.seed, step])
    stop = StopRequest()
    start = last_save = time.monotonic()
    means = Means()
    while time.monotonic() - start < arguments.minutes * 60 and not stop.is_set:
        passed = (time.monotonic() - start) / (arguments.minutes * 60)
        rate = arguments.rate + (arguments.final_rate - arguments.rate) * passed
        for optimizer in optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1.0, (step - warm_from + 1) / arguments.warmup)
        samples, latents = (
            part.to(device)
            for part in draw(
                arguments.rows,
                arguments.frames,
                generator,
                arguments.own_share,
                arguments.voice_shares,
            )
        )
        with autocast:
            losses = training.losses(samples, latents)
        total = sum(
            (WEIGHTS.get(name, 1.0) * value for name, value in losses.items()),
            torch.zeros((), device=device),
        )
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(module.parameters(), 10.0)
        for optimizer in optimizers.values():
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        means.add({**losses, "norm": norm})
        step += 1
        ema.update(module, step)
        if step % REPORT_STEPS == 0 or step in (10, 50, 100):
            report()
        if time.monotonic() - last_save > 300:
            save()
            last_save = time.monotonic()
    save()
    report(leg="end")


if __name__ == "__main__":
    main()
