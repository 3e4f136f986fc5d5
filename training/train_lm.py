"""Trains the language model in legs: `python -m training.train_lm --minutes 60`.

Continues from this machine's full state, else from the weights that the package carries, else afresh.
"""

import argparse
import random
import time
from contextlib import nullcontext

import numpy as np
import torch

from training.common import (
    Ema,
    Log,
    StopRequest,
    add_voice_shares,
    load_configuration,
    load_full,
    load_restart_point,
    save_full,
    save_small,
)
from training.features import FRAME_SAMPLES, Pca, frame_features
from training.lm import LanguageModel, LossWeights
from training.lm_data import Corpus
from training.muon import muon_and_adamw
from training.paths import data_folder, shards_of

VALIDATION_STEPS = 250
EMA_DECAY = 0.999
GRADIENT_NORM = 1.0


def silence_latent(pca: Pca) -> np.ndarray:
    """The latent of digital silence."""
    return pca.latents(frame_features(np.zeros(FRAME_SAMPLES, np.float32)))[0]


def latent_weight(pca: Pca) -> torch.Tensor:
    """Weights of mean 1 for errors of whitened latents: the directions of large variance matter more."""
    weight = torch.from_numpy(pca.scale).sqrt()
    return weight / weight.mean()


def make_optimizers(model: LanguageModel, rate: float) -> dict[str, torch.optim.Optimizer]:
    """Muon for the matrices within transformer and head."""
    inner = r"transformer\.layers|res_blocks|time_embed"
    return muon_and_adamw(model, inner, rate, betas=(0.9, 0.98))


@torch.no_grad()
def validate(
    model: LanguageModel, ema: Ema, corpus: Corpus, tokens: int, device: torch.device
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
    torch.random.set_rng_state(state)
    model.train()
    ema.swap(model)
    return {f"held_out_{name}": value / count for name, value in sums.items()}


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
        "--own-rows",
        type=float,
        default=LossWeights.own_rows,
        help="share of rows with frames of the model's own; 0 until it makes some",
    )
    parser.add_argument(
        "--guided",
        action="store_true",
        help="learn what guidance by the text would make of `lm`; kept beside it as `lm_guided`",
    )
    parser.add_argument(
        "--guidance", type=float, default=LossWeights.guidance, help="1 is none; with --guided"
    )
    parser.add_argument(
        "--average", type=float, default=EMA_DECAY, help="decay of the average; less in short legs"
    )
    parser.add_argument(
        "--own-twice",
        type=float,
        default=LossWeights.own_twice,
        help="share of batches whose own frames follow own frames",
    )
    parser.add_argument(
        "--phones",
        type=float,
        default=LossWeights.phones,
        help="weight of naming phones; needs training.phones",
    )
    add_voice_shares(parser)
    parser.add_argument(
        "--fresh", action="store_true", help="never from the weights that the package carries"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    device = torch.device(arguments.device)
    # bf16 only where the hardware multiplies it: on CPUs without it float32 is several times faster.
    autocast = torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()
    folder = data_folder()
    pca = Pca.load(folder / "pca.npz")
    tokenizer_path = folder / "tokenizer.json"
    corpus = Corpus(shards_of(folder), tokenizer_path, silence_latent(pca), arguments.longest)

    model = LanguageModel(load_configuration(), latent_weight(pca)).to(device)
    ema = Ema(model, arguments.average)
    optimizers = make_optimizers(model, arguments.rate)
    runs = folder / "runs"
    part = "lm_guided" if arguments.guided else "lm"
    full = runs / f"{part}.pt"
    step, warm_from = 0, 0
    guide = None
    if arguments.guided:
        if not (runs / "lm.safetensors").exists():
            parser.error(f"--guided needs {runs / 'lm.safetensors'}: run a leg without it first")
        guide = LanguageModel(load_configuration(), latent_weight(pca)).to(device).eval()
        load_restart_point(guide, "lm", runs)
    known = full if full.exists() else runs / "lm.pt"
    if known.exists():
        step = load_full(known, model, ema, **optimizers)
        warm_from = step - arguments.warmup
    elif not arguments.fresh and load_restart_point(model, "lm"):
        ema = Ema(model, arguments.average)
    weights = LossWeights(
        distillation=arguments.distillation,
        own_rows=arguments.own_rows,
        own_twice=arguments.own_twice,
        phones=arguments.phones,
        guidance=arguments.guidance,
    )
    log = Log(part)
    n_values = sum(value.numel() for value in model.flow_lm.parameters())
    log.write(
        leg="start",
        step=step,
        values=n_values,
        hours=corpus.hours,
        utterances=len(corpus.training),
        frames_with_phones=corpus.n_named,
        **vars(arguments),
    )

    stop = StopRequest()
    start = last_save = time.monotonic()
    make_batches = corpus.batches if device.type == "cpu" else corpus.prefetched
    rng = random.Random(arguments.seed * 1_000_003 + step)
    batches = make_batches(arguments.tokens, rng, arguments.voice_shares)
    sums: dict[str, float] = {}
    since = 0
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
            batch = next(batches).to(device)
            with autocast:
                losses = model.losses(batch, weights, guide)
                total = model.total(losses, weights) / arguments.accumulate
            total.backward()
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + float(value)
            since += 1
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_NORM)
        sums["norm"] = sums.get("norm", 0.0) + float(norm) * arguments.accumulate
        for optimizer in optimizers.values():
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step += 1
        ema.update(model, step)
        if step % VALIDATION_STEPS == 0 or step in (10, 50, 100):
            report = {name: value / since for name, value in sums.items()}
            log.write(step=step, **report, **validate(model, ema, corpus, arguments.tokens, device))
            sums, since = {}, 0
        if time.monotonic() - last_save > 300:
            save_full(full, model, ema, step, **optimizers)
            save_small(ema.values, runs / f"{part}.safetensors")
            last_save = time.monotonic()
    save_full(full, model, ema, step, **optimizers)
    save_small(ema.values, runs / f"{part}.safetensors")
    log.write(leg="end", step=step, **validate(model, ema, corpus, arguments.tokens, device))


if __name__ == "__main__":
    main()
