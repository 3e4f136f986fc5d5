"""Trains the language model in legs: `python -m training.train_lm --minutes 60`.

Continues from this machine's full state, else from the weights that the package carries, else afresh.
"""

import argparse
import random
import time
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import torch

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
from training.features import Pca, silent_frame
from training.lm import LanguageModel, LossWeights
from training.lm_data import Corpus
from training.muon import muon_and_adamw
from training.paths import data_folder, shards_of
from training.rollouts import RolloutOptions, rollouts, spoken_distance

VALIDATION_STEPS = 250
EMA_DECAY = 0.999
# Held-out utterances that a report has the model speak.
N_SPOKEN = 96
GRADIENT_NORM = 1.0
# On frames of its own, which are not true anyway.
OWN_NOISE = 0.03


def silence_latent(pca: Pca) -> np.ndarray:
    """The latent of digital silence."""
    return pca.latents(silent_frame())[0]


def latent_weight(pca: Pca) -> torch.Tensor:
    """Weights of mean 1 for errors of whitened latents: the directions of large variance matter more."""
    weight = torch.from_numpy(pca.scale).sqrt()
    return weight / weight.mean()


def make_optimizers(
    model: LanguageModel, rate: float, products: torch.dtype = torch.float32
) -> dict[str, torch.optim.Optimizer]:
    """Muon for the matrices within transformer and head."""
    inner = r"transformer\.layers|res_blocks|time_embed"
    return muon_and_adamw(model, inner, rate, betas=(0.9, 0.98), products=products)


@torch.no_grad()
def validate(
    model: LanguageModel,
    ema: Ema,
    corpus: Corpus,
    tokens: int,
    device: torch.device,
    importance: torch.Tensor,
) -> dict[str, float]:
    """Losses of the averaged weights on the held-out utterances, the same noise every time."""
    ema.swap(model)
    model.eval()
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    sums: dict[str, float] = {}
    count = 0
    for batch in corpus.validation_batches(tokens):
        frames = int(batch.is_frame.sum())
        losses = model.losses(batch.to(device), LossWeights())
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + float(value) * frames
        count += frames
    spoken = spoken_distance(model, corpus, importance, N_SPOKEN)
    torch.random.set_rng_state(state)
    model.train()
    ema.swap(model)
    means = {name: value / count for name, value in sums.items()} | {"spoken": spoken}
    return {f"held_out_{name}": value for name, value in means.items()}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument(
        "--steps", type=int, default=10**9, help="stop at this step of the whole training"
    )
    parser.add_argument("--tokens", type=int, default=3_072, help="positions a step")
    parser.add_argument(
        "--longest", type=int, default=200, help="longest utterance, tokens and frames together"
    )
    parser.add_argument("--rate", type=float, default=5e-3)
    parser.add_argument(
        "--final-rate", type=float, default=5e-3, help="reached in a straight line at the leg's end"
    )
    parser.add_argument("--warmup", type=int, default=200)
    parser.add_argument("--accumulate", type=int, default=1, help="batches a step")
    parser.add_argument("--distillation", type=float, default=LossWeights.distillation)
    parser.add_argument(
        "--rollouts",
        type=float,
        default=0.5,
        help="share of batches that follow the model's own speech; 0 until it says some",
    )
    parser.add_argument(
        "--rollout-temperature", type=float, default=0.15, help="of the noise in its own speech"
    )
    parser.add_argument(
        "--guidance", type=float, default=LossWeights.guidance, help="1 is none, as at first"
    )
    parser.add_argument(
        "--average", type=float, default=EMA_DECAY, help="decay of the average; less in short legs"
    )
    add_shared_options(parser)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    device = torch.device(arguments.device)
    is_mixed = arguments.bf16 or device.type == "cuda"
    autocast = torch.autocast(device.type, torch.bfloat16) if is_mixed else nullcontext()
    folder = data_folder()
    pca = Pca.load(folder / "pca.npz")
    tokenizer_path = folder / "tokenizer.json"
    corpus = Corpus(shards_of(folder), tokenizer_path, silence_latent(pca), arguments.longest)

    model = LanguageModel(load_configuration(), latent_weight(pca)).to(device)
    ema = Ema(model, arguments.average)
    optimizers = make_optimizers(
        model, arguments.rate, torch.bfloat16 if is_mixed else torch.float32
    )
    runs = folder / "runs"
    full = runs / "lm.pt"
    step, warm_from = 0, 0
    if full.exists():
        step = load_full(full, model, ema, **optimizers)
        warm_from = step - arguments.warmup
    elif not arguments.fresh and load_restart_point(model, "lm"):
        ema = Ema(model, arguments.average)
    weights = LossWeights(
        distillation=arguments.distillation,
        guidance=arguments.guidance,
    )
    own_weights = replace(weights, input_noise=OWN_NOISE)
    log = Log("lm")
    n_values = sum(value.numel() for value in model.flow_lm.parameters())
    log.write(
        leg="start",
        step=step,
        values=n_values,
        hours=corpus.hours,
        utterances=len(corpus.training),
        **vars(arguments),
    )

    stop = StopRequest()
    start = last_save = time.monotonic()
    make_batches = corpus.batches if device.type == "cpu" else corpus.prefetched
    rng = random.Random(arguments.seed * 1_000_003 + step)
    batches = make_batches(arguments.tokens, rng, arguments.voice_shares)
    importance = torch.from_numpy(pca.scale**2 / (pca.scale**2).sum())
    rollout_options = RolloutOptions(
        arguments.tokens, arguments.rollout_temperature, arguments.voice_shares
    )
    own_batches = rollouts(model, corpus, rollout_options, importance, rng)
    means = Means()
    while (
        step < arguments.steps
        and time.monotonic() - start < arguments.minutes * 60
        and not stop.is_set
    ):
        passed = (time.monotonic() - start) / (arguments.minutes * 60)
        rate = arguments.rate + (arguments.final_rate - arguments.rate) * passed
        for optimizer in optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1.0, (step - warm_from + 1) / arguments.warmup)
        for _ in range(arguments.accumulate):
            is_own = rng.random() < arguments.rollouts
            # Apart from the next block, which would find casts of the weights made without gradients.
            with autocast:
                batch = next(own_batches if is_own else batches).to(device)
            with autocast:
                losses = model.losses(batch, own_weights if is_own else weights)
                total = model.total(losses, weights) / arguments.accumulate
            total.backward()
            means.add(losses, "own_" if is_own else "")
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_NORM)
        means.add({"norm": norm})
        for optimizer in optimizers.values():
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step += 1
        ema.update(model, step)
        if step % VALIDATION_STEPS == 0 or step in (10, 50, 100):
            held_out = validate(model, ema, corpus, arguments.tokens, device, importance)
            log.write(step=step, **means.take(), **held_out)
        if time.monotonic() - last_save > 300:
            save_full(full, model, ema, step, **optimizers)
            save_small(ema.values, runs / "lm.safetensors")
            last_save = time.monotonic()
    save_full(full, model, ema, step, **optimizers)
    save_small(ema.values, runs / "lm.safetensors")
    log.write(
        leg="end", step=step, **validate(model, ema, corpus, arguments.tokens, device, importance)
    )


if __name__ == "__main__":
    main()
