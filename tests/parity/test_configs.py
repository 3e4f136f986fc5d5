"""Configurations against the reference's own schema: the shipped ones, odd types, odd keys."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
from pocket_tts_native import ModelFormatError, catalog
from pocket_tts_native._native import Config
from reference_client import ReferenceUnavailableError, reference_interpreter

pytestmark = pytest.mark.parity

_SCRIPT: Final = Path(__file__).parent.parent / "reference" / "read_configs.py"

# A complete configuration with a place for each kind of value.
_BASE: Final = """
flow_lm:
  dtype: float32
  flow: {dim: 64, depth: 4, type: lsd}
  transformer: {d_model: 112, hidden_scale: 1, max_period: 10000, num_heads: 4, num_layers: 8}
  lookup_table: {dim: 112, n_bins: 4000, tokenizer: tokenizers, tokenizer_path: tokenizer.json}
mimi:
  dtype: float32
  sample_rate: 24000
  channels: 1
  frame_rate: 12.5
  seanet:
    {dimension: 512, channels: 1, n_filters: 64, n_residual_layers: 1, ratios: [6, 5, 4],
     kernel_size: 7, residual_kernel_size: 3, last_kernel_size: 3, dilation_base: 2,
     pad_mode: constant, compress: 2}
  transformer:
    {d_model: 512, input_dimension: 512, output_dimensions: [512], num_heads: 8, num_layers: 2,
     layer_scale: 0.01, context: 250, dim_feedforward: 2048}
  quantizer: {dimension: 32, output_dimension: 512}
"""

_ADDED: Final = "ADDED"
# Where a value goes: a piece of the base, and what replaces it.
_PLACES: Final = {
    "integer": ("dim: 64,", "dim: {},"),
    "unread integer": ("  channels: 1\n", "  channels: {}\n"),
    "optional integer": ("dtype: float32\n", "dtype: float32\n  z_dim: {}\n"),
    "zero is none": ("num_layers: 8}", "num_layers: 8, dim_feedforward: {}}"),
    "number": ("layer_scale: 0.01", "layer_scale: {}"),
    "number with a default": (_ADDED, "default_eos_threshold: {}\n"),
    "temperature": (_ADDED, "default_temperature: {}\n"),
    "boolean": (_ADDED, "remove_semicolons: {}\n"),
    "text": ("tokenizer: tokenizers", "tokenizer: {}"),
    "optional text": (_ADDED, "weights_path: {}\n"),
    "one of some words": ("type: lsd", "type: {}"),
    "list": ("ratios: [6, 5, 4]", "ratios: {}"),
    "tuple": ("output_dimensions: [512]", "output_dimensions: {}"),
    "mapping": (_ADDED, "replace_characters: {}\n"),
    "value of a mapping": (_ADDED, "replace_characters: {a: {}}\n"),
    "section": (_ADDED, "mimi: {}\n"),
    "optional section": ("  channels: 1\n", "  channels: 1\n  decoder_seanet: {}\n"),
}
_VALUES: Final = (
    """
8 | 8.0 | 8.5 | -8 | 0 | 1 | 2 | 0.0 | 1.0 | -0.0 | 010 | 0x10 | 0b11 | 1_0 | 1:30 | 1e3 | 1.0e+3 | +8
'8' | '8.0' | '8.5' | ' 8 ' | "\\t8\\n" | '8_0' | '8__0' | '_8' | '8_' | '+8' | '-8' | '- 8' | '08' | '8.' | '.8'
'0x10' | '1e1' | '1E1' | '1e1_0' | '8.00' | '8.0_0' | '8,0' | '٨' | '８' | '' | ' ' | 'eight' | '8 8' | '1_000.0'
99999999999999999999 | '99999999999999999999' | 1.0e+300 | '1e400' | 9223372036854775807 | 1e-400
.inf | -.inf | .nan | 'inf' | '-inf' | 'nan' | 'Infinity' | '+Infinity' | 'NaN' | 'infinit'
true | false | yes | No | on | OFF | y | n | t | 'true' | 'TRUE' | 'tRuE' | 'yes' | 'Y' | 'N' | 'on' | 'oFF'
't' | 'F' | '1' | '0' | '1.0' | '0.0' | ' true ' | 'truE\\n' | 'nope' | '2'
null | ~ | Null | 'null' | [] | [8] | ['8', 8.0, true] | [6, 5, 4] | ['6', 5.0, 4] | [6, null] | [6, [5]] | [0]
[512] | ['512'] | [512.0] | [512.5] | {} | {a: b} | {a: 1} | {a: null} | {1: b} | {null: b} | {'ü': 'ß'} | {yes: b}
2024-01-02 | 2024-01-02T03:04:05Z | !!str 8 | !!int '8' | !!float 8 | !!binary aGk= | !!set {a} | lsd | drifting | Lsd
""".strip()
    .replace("\n", " | ")
    .split(" | ")
)
_KEYS: Final = (
    "colour: 1\n",
    "Weights_path: x\n",
    "weights_path : x\n",
    "'weights_path': x\n",
    "? weights_path\n: x\n",
    "1: x\n",
    "null: x\n",
    "weights_path: x\nweights_path: z\n",
    "<<: {weights_path: x}\n",
    "<<: [{weights_path: x}, {weights_path: z}]\nweights_path: null\n",
    "<<: {colour: x}\n",
    "---\n",
    "...\n",
    "# nothing\n",
    "anchors: &a 1\n",
    "weights_path: &a x\nweights_path_without_voice_cloning: *a\n",
    "weights_path: |\n  x\n  z\n",
    "weights_path: >-\n  x\n  z\n",
    'weights_path: "a\\u00e9\\x41\\n"\n',
)


def _ask(*arguments: str, texts: list[str] | None = None) -> list[Any]:
    """Run the script in the reference's environment."""
    try:
        interpreter = reference_interpreter()
    except ReferenceUnavailableError as error:
        pytest.fail(str(error), pytrace=False)
    done = subprocess.run(
        [str(interpreter), str(_SCRIPT), *arguments],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    answer: list[Any] = json.loads(done.stdout)
    return answer


def _comparable(values: object) -> Any:  # noqa: ANN401
    """`values` as JSON has them; NaN, which differs from itself, cannot occur."""
    return json.loads(json.dumps(values))


def _zero_as_none(values: dict[str, Any]) -> dict[str, Any]:
    """What the reference uses where it writes `value or default`."""
    transformer = values["flow_lm"]["transformer"]
    for key in ("attn_dim", "num_kv_heads", "dim_feedforward"):
        transformer[key] = transformer[key] or None
    return values


def test_shipped_configurations_have_the_values_of_the_schema() -> None:
    """Our reader and our table against the schema's values of all files of the reference."""
    shipped = _ask("shipped")
    assert [name for name, _, _ in shipped] == Config.names() == sorted(catalog.LANGUAGES)
    assert len(shipped) == 27
    for name, text, expected in shipped:
        assert _comparable(Config.from_yaml(text, name).as_dict()) == expected, name
        named = Config.named(name)
        assert named is not None
        assert _comparable(named.as_dict()) == expected, name
        # The order of rewriting is the file's.
        replaced = named.as_dict()["replace_characters"]
        assert list(replaced) == list(expected["replace_characters"]), name


def _texts() -> dict[str, str]:
    """Configurations by what is odd about them."""
    texts = {"nothing": _BASE}
    for place, (old, new) in _PLACES.items():
        for value in _VALUES:
            filled = (
                new.replace("{}", value, 1)
                if "a: {}" not in new
                else new.replace("a: {}", f"a: {value}")
            )
            if old == _ADDED:
                base = re.sub(r"(?s)\nmimi:.*", "\n", _BASE) if place == "section" else _BASE
                texts[f"{place}: {value}"] = base + filled
            else:
                assert old in _BASE
                texts[f"{place}: {value}"] = _BASE.replace(old, filled, 1)
    for keys in _KEYS:
        texts[f"keys: {keys!r}"] = _BASE + keys
    for line in _BASE.strip().splitlines():
        if re.fullmatch(r"  \w+: [\w.]+", line):
            texts[f"without {line.strip()}"] = _BASE.replace(line + "\n", "", 1)
    return texts


# What we refuse and the schema takes: ranges, and values that the reference fails on later.
_OWN_FAULTS: Final = re.compile(
    r"out of range|differs from|should be \[|is no multiple|unknown (flow type|padding)|exceeds|heads"
    r"|is not the rate|not supported|NaN is not a number|single character|is no rate|does not divide"
)


def test_types_and_keys_are_taken_as_by_the_schema() -> None:
    """Every text is refused by both, or read to the same values."""
    texts = _texts()
    n_read = 0
    faults = []
    for (name, text), expected in zip(texts.items(), _ask(texts=list(texts.values())), strict=True):
        try:
            found = _comparable(Config.from_yaml(text, "c.yaml").as_dict())
        except ModelFormatError as error:
            if expected is not None and not _OWN_FAULTS.search(str(error)):
                faults.append(f"{name}: only we refuse it: {error}")
            continue
        n_read += 1
        if expected is None:
            faults.append(f"{name}: only the reference refuses it")
        elif found != _zero_as_none(expected):
            faults.append(f"{name}: found {found}, expected {expected}")
    assert not faults, "\n".join(faults)
    assert n_read > len(texts) // 8, f"only {n_read} of {len(texts)} were read"


def test_defaults_by_language_are_those_of_the_reference() -> None:
    """Voices, their origins, addresses and the default voice and text for every name."""
    names = [*catalog.LANGUAGES, "", "klingon", "swiss_german"]
    code = (
        "import json, sys\n"
        "from pocket_tts import default_parameters as d\n"
        "from pocket_tts.utils import utils as u\n"
        "names = json.load(sys.stdin)\n"
        "tell = lambda n: [d.get_default_voice_for_language(n), d.get_default_text_for_language(n),\n"
        "    u.get_predefined_voice(str(n), 'alba')]\n"
        "json.dump([d.DEFAULT_LANGUAGE, u._ORIGINS_OF_PREDEFINED_VOICES,\n"
        "    [tell(n) for n in [*names, None]],\n"
        "    d.get_default_voice_for_language('french', config='c.yaml'),\n"
        "    d.get_default_voice_for_language(None, checkpoint='c.pt')], sys.stdout)\n"
    )
    done = subprocess.run(
        [str(reference_interpreter()), "-c", code],
        input=json.dumps(names),
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    language, origins, defaults, with_config, with_checkpoint = json.loads(done.stdout)
    assert language == catalog.DEFAULT_LANGUAGE
    assert origins == catalog.VOICE_ORIGINS
    assert tuple(origins) == catalog.VOICES
    for name, (voice, text, address) in zip([*names, None], defaults, strict=True):
        assert catalog.default_voice(name) == voice
        assert catalog.default_text(name) == text
        assert catalog.voice_address(str(name), "alba") == address
    assert catalog.default_voice("french", config="c.yaml") == with_config
    assert catalog.default_voice(None, checkpoint="c.pt") == with_checkpoint
