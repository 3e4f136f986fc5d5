"""The tensors of a Pocket TTS model, derived from its configuration, filled at random.

The one place under `tests/` that knows tensor names and shapes: `tensor_specs` serves tiny models
(`tiny_config`) and full-size ones alike. PyTorch loads the same files with strict names in the
parity tests, which proves the list right.

No tensor keeps a default value. Norm weights of 1, biases of 0 or a layer scale of 0.01 would hide
errors; a decoder with small gains would be nearly right while ignoring its input. Weights are
N(0, gain² / fan-in), which keeps activations near 1.
"""

from __future__ import annotations

import copy
import hashlib
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
from model_files import Array, FloatDtype, write_safetensors, write_tokenizer, write_yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

Config: TypeAlias = dict[str, Any]
Layout: TypeAlias = Literal["bundle", "bundle_and_mimi", "split"]

N_TIME_CONDITIONS: Final = {"lsd": 2, "flow_matching": 1, "drifting": 0, "pointwise": 0}
TIME_EMBEDDING_WIDTH: Final = 256
TIME_PERIOD: Final = 10_000.0
# ELU keeps about 0.64 of the variance of a standard normal; 1.2² makes up for most of it.
CONV_GAIN: Final = 1.2
# ELU has a positive mean, which weights with a mean of their own would pile up to a constant that
# drowns the signal. Convolutions of this many inputs or fewer are left as they are.
MIN_CENTRED_WIDTH: Final = 4
# Latents enter the decoder louder than its transformer's own contribution, so that they decide the
# audio even behind twelve random layers.
LATENT_GAIN: Final = 3.0
# Queries and keys a little wider than 1, so that attention weights differ between keys.
ATTENTION_GAIN: Final = 1.5


@dataclass(frozen=True)
class TensorSpec:
    """Shape of a tensor and the distribution that fills it; `scale` is the standard deviation."""

    shape: tuple[int, ...]
    kind: Literal["normal", "norm_weight", "emb_std", "time_freqs"]
    scale: float = 1.0
    centred_axes: tuple[int, ...] = ()  # input axes of a weight whose mean is taken out


def _weight(*shape: int, fan_in: int, gain: float = 1.0) -> TensorSpec:
    return TensorSpec(shape, "normal", gain / math.sqrt(fan_in))


def _linear(
    name: str, n_out: int, n_in: int, *, bias: bool = False
) -> Iterator[tuple[str, TensorSpec]]:
    yield f"{name}.weight", _weight(n_out, n_in, fan_in=n_in)
    if bias:
        yield f"{name}.bias", TensorSpec((n_out,), "normal", 0.05)


def _norm(name: str, width: int) -> Iterator[tuple[str, TensorSpec]]:
    yield f"{name}.weight", TensorSpec((width,), "norm_weight")
    yield f"{name}.bias", TensorSpec((width,), "normal", 0.1)


def _transformer(
    name: str, config: Mapping[str, Any], *, has_layer_scale: bool
) -> Iterator[tuple[str, TensorSpec]]:
    d_model = config["d_model"]
    attn_dim = config.get("attn_dim") or d_model
    kv_dim = attn_dim // config["num_heads"] * (config.get("num_kv_heads") or config["num_heads"])
    ffn = config.get("dim_feedforward") or d_model * config["hidden_scale"]
    for index in range(config["num_layers"]):
        layer = f"{name}.layers.{index}"
        rows = attn_dim + 2 * kv_dim
        yield (
            f"{layer}.self_attn.in_proj.weight",
            _weight(rows, d_model, fan_in=d_model, gain=ATTENTION_GAIN),
        )
        yield from _linear(f"{layer}.self_attn.out_proj", d_model, attn_dim)
        yield from _norm(f"{layer}.norm1", d_model)
        yield from _norm(f"{layer}.norm2", d_model)
        yield from _linear(f"{layer}.linear1", ffn, d_model)
        yield from _linear(f"{layer}.linear2", d_model, ffn)
        if has_layer_scale:
            yield f"{layer}.layer_scale_1.scale", TensorSpec((d_model,), "norm_weight")
            yield f"{layer}.layer_scale_2.scale", TensorSpec((d_model,), "norm_weight")


def _flow_net(config: Mapping[str, Any], latent_dim: int) -> Iterator[tuple[str, TensorSpec]]:
    flow = config["flow"]
    width = flow["dim"]
    cond_dim = config.get("z_dim") or config["transformer"]["d_model"]
    for index in range(N_TIME_CONDITIONS[flow.get("type", "lsd")]):
        embed = f"flow_net.time_embed.{index}"
        yield f"{embed}.freqs", TensorSpec((TIME_EMBEDDING_WIDTH // 2,), "time_freqs")
        yield from _linear(f"{embed}.mlp.0", width, TIME_EMBEDDING_WIDTH, bias=True)
        yield from _linear(f"{embed}.mlp.2", width, width, bias=True)
        yield f"{embed}.mlp.3.alpha", TensorSpec((width,), "norm_weight")
    yield from _linear("flow_net.cond_embed", width, cond_dim, bias=True)
    yield from _linear("flow_net.input_proj", width, latent_dim, bias=True)
    for index in range(flow["depth"]):
        block = f"flow_net.res_blocks.{index}"
        yield from _norm(f"{block}.in_ln", width)
        yield from _linear(f"{block}.mlp.0", width, width, bias=True)
        yield from _linear(f"{block}.mlp.2", width, width, bias=True)
        yield from _linear(f"{block}.adaLN_modulation.1", 3 * width, width, bias=True)
    yield from _linear("flow_net.final_layer.linear", latent_dim, width, bias=True)
    yield from _linear("flow_net.final_layer.adaLN_modulation.1", 2 * width, width, bias=True)


def _flow_lm(config: Config) -> Iterator[tuple[str, TensorSpec]]:
    flow_lm, mimi = config["flow_lm"], config["mimi"]
    table = flow_lm["lookup_table"]
    d_model = flow_lm["transformer"]["d_model"]
    latent_dim = mimi["quantizer"]["dimension"]
    voice_dim = mimi.get("inner_dim") or mimi["seanet"]["dimension"]
    yield "emb_std", TensorSpec((latent_dim,), "emb_std")
    yield "emb_mean", TensorSpec((latent_dim,), "normal", 0.2)
    yield "bos_emb", TensorSpec((latent_dim,), "normal")
    if flow_lm.get("insert_bos_before_voice"):
        yield "bos_before_voice", TensorSpec((1, 1, d_model), "normal")
    yield "speaker_proj_weight", _weight(d_model, voice_dim, fan_in=voice_dim)
    rank = table.get("rank")
    rows = table["n_bins"] + 1
    yield "conditioner.embed.weight", TensorSpec((rows, rank or table["dim"]), "normal")
    if rank:
        yield from _linear("conditioner.proj", table["dim"], rank)
    yield from _linear("input_linear", d_model, latent_dim)
    yield from _transformer("transformer", flow_lm["transformer"], has_layer_scale=False)
    yield from _norm("out_norm", d_model)
    z_dim = flow_lm.get("z_dim")
    if z_dim:
        yield from _linear("z_proj", z_dim, d_model)
    yield from _linear("out_eos", 1, z_dim or d_model, bias=True)
    yield from _flow_net(flow_lm, latent_dim)


def _conv(
    name: str, n_out: int, n_in: int, kernel: int, *, bias: bool = True, gain: float = CONV_GAIN
) -> Iterator[tuple[str, TensorSpec]]:
    fan_in = n_in * kernel
    weight = TensorSpec((n_out, n_in, kernel), "normal", gain / math.sqrt(fan_in), (1, 2))
    yield f"{name}.weight", weight if n_in > MIN_CENTRED_WIDTH else replace(weight, centred_axes=())
    if bias:
        yield f"{name}.bias", TensorSpec((n_out,), "normal", 0.05)


def _residual_blocks(
    name: str, index: int, width: int, config: Mapping[str, Any]
) -> Iterator[tuple[str, TensorSpec]]:
    hidden = width // config["compress"]
    for block in range(config["n_residual_layers"]):
        prefix = f"{name}.{index + block}.block"
        yield from _conv(f"{prefix}.1.conv", hidden, width, config["residual_kernel_size"])
        yield from _conv(f"{prefix}.3.conv", width, hidden, 1)


def _seanet_encoder(name: str, config: Mapping[str, Any]) -> Iterator[tuple[str, TensorSpec]]:
    width = config["n_filters"]
    yield from _conv(f"{name}.0.conv", width, config["channels"], config["kernel_size"])
    index = 1
    for ratio in reversed(config["ratios"]):
        yield from _residual_blocks(name, index, width, config)
        index += config["n_residual_layers"] + 1  # one more for the ELU
        yield from _conv(f"{name}.{index}.conv", 2 * width, width, 2 * ratio)
        width *= 2
        index += 1
    kernel = config["last_kernel_size"]
    yield from _conv(f"{name}.{index + 1}.conv", config["dimension"], width, kernel)


def _seanet_decoder(name: str, config: Mapping[str, Any]) -> Iterator[tuple[str, TensorSpec]]:
    width = config["n_filters"] * 2 ** len(config["ratios"])
    yield from _conv(f"{name}.0.conv", width, config["dimension"], config["kernel_size"])
    index = 2
    for ratio in config["ratios"]:
        # Kernel 2·ratio at stride ratio: every output sample sees two taps of each input channel.
        weight = _weight(width, width // 2, 2 * ratio, fan_in=2 * width, gain=CONV_GAIN)
        yield f"{name}.{index}.convtr.weight", replace(weight, centred_axes=(0,))
        yield f"{name}.{index}.convtr.bias", TensorSpec((width // 2,), "normal", 0.05)
        width //= 2
        yield from _residual_blocks(name, index + 1, width, config)
        index += config["n_residual_layers"] + 2
    yield from _conv(f"{name}.{index}.conv", config["channels"], width, config["last_kernel_size"])


def _projected_transformer(
    name: str, config: Mapping[str, Any]
) -> Iterator[tuple[str, TensorSpec]]:
    d_model = config["d_model"]
    if config["input_dimension"] != d_model:
        yield from _linear(f"{name}.input_proj", d_model, config["input_dimension"])
    yield from _transformer(f"{name}.transformer", config, has_layer_scale=True)
    for index, width in enumerate(config["output_dimensions"]):
        if width != d_model:
            yield from _linear(f"{name}.output_projs.{index}", width, d_model)


def codec_stride(mimi: Mapping[str, Any]) -> int:
    """Steps of the codec's transformers per latent frame; 1 means no up- or downsampling."""
    encoder_rate: float = mimi["sample_rate"] / math.prod(mimi["seanet"]["ratios"])
    frame_rate: float = mimi["frame_rate"]
    return round(encoder_rate / frame_rate)


def _mimi(mimi: Mapping[str, Any]) -> Iterator[tuple[str, TensorSpec]]:
    seanet = mimi["seanet"]
    decoder_seanet = mimi.get("decoder_seanet") or seanet
    yield from _seanet_encoder("encoder.model", seanet)
    yield from _seanet_decoder("decoder.model", decoder_seanet)
    yield from _projected_transformer("encoder_transformer", mimi["transformer"])
    decoder_transformer = mimi.get("decoder_transformer") or mimi["transformer"]
    yield from _projected_transformer("decoder_transformer", decoder_transformer)
    quantizer = mimi["quantizer"]
    n_out, n_in = quantizer["output_dimension"], quantizer["dimension"]
    yield from _conv("quantizer.output_proj", n_out, n_in, 1, bias=False, gain=LATENT_GAIN)
    stride = codec_stride(mimi)
    if stride > 1:
        inner = mimi.get("inner_dim") or seanet["dimension"]
        yield from _conv("downsample.conv.conv", inner, seanet["dimension"], 2 * stride, bias=False)
        outer = mimi.get("outer_dim") or decoder_seanet["dimension"]
        fan_in = 2 * outer // decoder_seanet["dimension"]
        yield "upsample.convtr.convtr.weight", _weight(outer, 1, 2 * stride, fan_in=fan_in)


def tensor_specs(config: Config) -> dict[str, TensorSpec]:
    """Every tensor of the bundle that `config` describes, by its name in the file."""
    specs = {f"flow_lm.{name}": spec for name, spec in _flow_lm(config)}
    specs.update({f"mimi.{name}": spec for name, spec in _mimi(config["mimi"])})
    return specs


def random_tensor(name: str, spec: TensorSpec, seed: int) -> Array:
    """Fill one tensor; the values depend on the seed and the name alone."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    rng = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
    if spec.kind == "norm_weight":
        return rng.uniform(0.3, 1.2, spec.shape).astype(np.float32)
    if spec.kind == "emb_std":
        return rng.uniform(0.5, 1.5, spec.shape).astype(np.float32)
    if spec.kind == "time_freqs":
        half = spec.shape[0]
        freqs = np.exp(-math.log(TIME_PERIOD) * np.arange(half) / half)
        return (freqs * rng.uniform(0.9, 1.1, half)).astype(np.float32)
    values = rng.standard_normal(spec.shape, dtype=np.float32) * np.float32(spec.scale)
    if spec.centred_axes:
        values -= values.mean(axis=spec.centred_axes, keepdims=True)
    return values


def random_tensors(config: Config, seed: int) -> dict[str, Array]:
    """A random bundle for `config`."""
    return {name: random_tensor(name, spec, seed) for name, spec in tensor_specs(config).items()}


def older_flow_lm_names(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """The FlowLM part of a bundle as a file of its own, under the names of older exports."""
    conditioners = "condition_provider.conditioners"
    renamed = {
        "conditioner.embed.weight": f"{conditioners}.transcript_in_segment.embed.weight",
        "speaker_proj_weight": f"{conditioners}.speaker_wavs.output_proj.weight",
        "bos_before_voice": "fuser.padding_value",
    }
    result: dict[str, Array] = {}
    for name, values in tensors.items():
        if name.startswith("flow_lm."):
            short = name.removeprefix("flow_lm.")
            old = renamed.get(short, short).replace(".in_proj.weight", ".in_proj_weight")
            result[old] = values
    # Left over from training; readers skip them.
    result["num_ema_updates"] = np.zeros(1, np.int64)
    result["flow.w_s_t.table"] = np.ones((3, 2), np.float32)
    for part in ("transcript_in_segment", "speaker_wavs"):
        result[f"{conditioners}.{part}.learnt_padding"] = np.ones(4, np.float32)
    return result


def older_mimi_names(tensors: Mapping[str, Array], seed: int = 0) -> dict[str, Array]:
    """The Mimi part as a file of its own: older names, SEANet weights as weight-norm pairs.

    `weight = weight_g · weight_v / ‖weight_v‖`, the norm taken over all axes but the first, for
    transposed convolutions too.
    """
    rng = np.random.Generator(np.random.Philox(key=seed))
    result: dict[str, Array] = {}
    for name, values in tensors.items():
        if not name.startswith("mimi."):
            continue
        short = name.removeprefix("mimi.")
        old = short.replace("in_proj.weight", "in_proj_weight")
        for layer in (".conv.", ".convtr."):
            if not short.startswith("quantizer.") and layer in old:
                head, _, tail = old.rpartition(layer)
                old = f"{head}{layer}{layer.removeprefix('.')}{tail}"
        if short.startswith(("encoder.model.", "decoder.model.")) and short.endswith(".weight"):
            norm = np.sqrt(np.square(values.astype(np.float64)).sum(axis=(1, 2), keepdims=True))
            stretch = rng.uniform(0.5, 2.0, norm.shape)
            result[old + "_g"] = norm.astype(np.float32)
            result[old + "_v"] = (values * stretch).astype(np.float32)
        elif short.startswith("encoder_transformer."):
            result["model." + old] = values  # the prefix is optional in these files
        else:
            result[old] = values
    result["quantizer.vq.layers.0._codebook.embedding_sum"] = np.ones((2, 2), np.float32)
    result["quantizer.logvar_proj.weight"] = np.ones((2, 2, 1), np.float32)
    result["wavlm_proj.weight"] = np.ones((2, 2), np.float32)
    return result


def write_model(
    directory: Path,
    config: Config,
    *,
    seed: int = 0,
    dtype: FloatDtype = "F32",
    layout: Layout = "bundle",
    tokenizer: Mapping[str, Any] | None = None,
    tensors: Mapping[str, Array] | None = None,
) -> Path:
    """Write `config.yaml`, the weights and `tokenizer.json` into `directory`.

    Args:
        directory: Where to write; made if missing.
        config: Complete configuration; its paths are replaced by absolute local ones.
        seed: Seed of the random tensors.
        dtype: Storage type of the weights.
        layout: `bundle` (one file), `bundle_and_mimi` (the bundle's Mimi differs from the one in
            `mimi.weights_path`, which must win) or `split` (two files with older names).
        tokenizer: Options of `write_tokenizer`.
        tensors: Use these tensors instead of random ones.

    Returns:
        Path of `config.yaml`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    directory = directory.resolve()
    config = copy.deepcopy(config)
    config.pop("weights_path_without_voice_cloning", None)
    config.pop("weights_path", None)
    bundle = dict(tensors if tensors is not None else random_tensors(config, seed))
    if layout == "split":
        config["flow_lm"]["weights_path"] = str(directory / "flow_lm.safetensors")
        config["mimi"]["weights_path"] = str(directory / "mimi.safetensors")
        flow_lm = older_flow_lm_names(bundle)
        write_safetensors(directory / "flow_lm.safetensors", flow_lm, float_dtype=dtype)
        mimi = older_mimi_names(bundle, seed)
        write_safetensors(directory / "mimi.safetensors", mimi, float_dtype=dtype)
    else:
        config["weights_path"] = str(directory / "model.safetensors")
        if layout == "bundle_and_mimi":
            config["mimi"]["weights_path"] = str(directory / "mimi.safetensors")
            mimi = {name: values for name, values in bundle.items() if name.startswith("mimi.")}
            write_safetensors(directory / "mimi.safetensors", mimi, float_dtype=dtype)
            for name, spec in tensor_specs(config).items():
                if name.startswith("mimi."):
                    bundle[name] = random_tensor(name, spec, seed + 1)
        write_safetensors(directory / "model.safetensors", bundle, float_dtype=dtype)
    table = config["flow_lm"]["lookup_table"]
    table["tokenizer"] = "tokenizers"
    table["tokenizer_path"] = str(directory / "tokenizer.json")
    write_tokenizer(directory / "tokenizer.json", table["n_bins"], **(tokenizer or {}))
    path = directory / "config.yaml"
    write_yaml(path, config)
    return path


def merged(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> Config:
    """`base` with nested `overrides`; a dictionary merges, anything else replaces."""
    result = copy.deepcopy(dict(base))
    for key, value in overrides.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def tiny_config(overrides: Mapping[str, Any] | None = None) -> Config:
    """A complete, tiny configuration: 1,600 Hz, frames of 128 samples, codec steps at 100 Hz."""
    base: Config = {
        "flow_lm": {
            "insert_bos_before_voice": True,
            "dtype": "float32",
            "flow": {"dim": 12, "depth": 2, "type": "lsd"},
            "transformer": {
                "d_model": 16,
                "hidden_scale": 1,
                "max_period": 10000,
                "num_heads": 2,
                "num_layers": 2,
            },
            "lookup_table": {
                "dim": 16,
                "n_bins": 60,
                "tokenizer": "tokenizers",
                "tokenizer_path": "tokenizer.json",
            },
        },
        "mimi": {
            "dtype": "float32",
            "sample_rate": 1600,
            "inner_dim": 8,
            "outer_dim": 16,
            "channels": 1,
            "frame_rate": 12.5,
            "seanet": {
                "dimension": 16,
                "channels": 1,
                "n_filters": 2,
                "n_residual_layers": 1,
                "ratios": [4, 2, 2],
                "kernel_size": 7,
                "residual_kernel_size": 3,
                "last_kernel_size": 3,
                "dilation_base": 2,
                "pad_mode": "constant",
                "compress": 2,
            },
            "transformer": {
                "d_model": 16,
                "num_heads": 2,
                "num_layers": 2,
                "layer_scale": 0.01,
                "context": 20,
                "dim_feedforward": 12,
                "input_dimension": 16,
                "output_dimensions": [16],
            },
            "quantizer": {"dimension": 8, "output_dimension": 16},
        },
    }
    return merged(base, overrides or {})
