//! What must hold between the values of a configuration, so that layers can rely on it.

use super::convert::MAX_SIZE;
use super::read::Fault;
use super::{Config, FlowLmConfig, MimiConfig, MimiTransformerConfig, SeanetConfig};

/// Checks the whole configuration.
pub(super) fn check(config: &Config) -> Result<(), Fault> {
    check_flow_lm(&config.flow_lm)?;
    check_mimi(&config.mimi)
}

fn require(holds: bool, key: &str, reason: impl FnOnce() -> String) -> Result<(), Fault> {
    if holds { Ok(()) } else { Err(Fault::new(key, reason())) }
}

/// Checks that heads divide the width evenly and leave pairs for `RoPE`.
fn check_heads(width: usize, width_name: &str, heads: usize, key: &str) -> Result<(), Fault> {
    require(width.is_multiple_of(heads), key, || format!("{heads} heads do not divide {width_name} = {width} evenly"))?;
    require((width / heads).is_multiple_of(2), key, || {
        format!("{heads} heads of width {} leave no pairs; the width must be even", width / heads)
    })
}

fn check_flow_lm(config: &FlowLmConfig) -> Result<(), Fault> {
    let transformer = &config.transformer;
    let (name, width) = match transformer.attn_dim {
        Some(width) => ("attn_dim", width),
        None => ("d_model", transformer.d_model),
    };
    check_heads(width, name, transformer.num_heads, "flow_lm.transformer.num_heads")?;
    let kv_heads = transformer.num_kv_heads.unwrap_or(transformer.num_heads);
    require(transformer.num_heads.is_multiple_of(kv_heads), "flow_lm.transformer.num_kv_heads", || {
        format!("{kv_heads} does not divide num_heads = {} evenly", transformer.num_heads)
    })?;
    if transformer.dim_feedforward.is_none() {
        let width = transformer.d_model * transformer.hidden_scale;
        require((1..=MAX_SIZE).contains(&width), "flow_lm.transformer.hidden_scale", || {
            format!("d_model * hidden_scale = {width} is out of range; use 1 to {MAX_SIZE}")
        })?;
    }
    let table = &config.lookup_table;
    require(table.dim == transformer.d_model, "flow_lm.lookup_table.dim", || {
        format!("{} differs from flow_lm.transformer.d_model = {}", table.dim, transformer.d_model)
    })
}

fn check_mimi(config: &MimiConfig) -> Result<(), Fault> {
    let decoder_seanet = config.decoder_seanet.as_ref();
    let decoder_transformer = config.decoder_transformer.as_ref();
    for (seanet, key) in [(Some(&config.seanet), "mimi.seanet"), (decoder_seanet, "mimi.decoder_seanet")] {
        seanet.map_or(Ok(()), |seanet| check_seanet(seanet, key))?;
    }
    let encoder = &config.seanet;
    let decoder = decoder_seanet.unwrap_or(encoder);
    check_transformer(&config.transformer, "mimi.transformer", encoder.dimension)?;
    if decoder_seanet.is_some() || decoder_transformer.is_some() {
        let key = match decoder_transformer {
            Some(_) => "mimi.decoder_transformer",
            None => "mimi.transformer",
        };
        let transformer = decoder_transformer.unwrap_or(&config.transformer);
        check_transformer(transformer, key, decoder.dimension)?;
    }
    let hop = encoder.ratios.iter().product::<usize>();
    let decoder_hop = decoder.ratios.iter().product::<usize>();
    require(hop == decoder_hop, "mimi.decoder_seanet.ratios", || {
        format!("their product {decoder_hop} differs from the encoder's {hop}")
    })?;

    // Rates compare as floats, as in the reference.
    let stride = config.sample_rate as f64 / hop as f64 / config.frame_rate;
    require(stride >= 1.0 && stride.fract() == 0.0, "mimi.frame_rate", || {
        format!(
            "{} is not the rate of the convolutions, {} / {hop} Hz, divided by an integer",
            config.frame_rate, config.sample_rate
        )
    })?;
    require(stride <= MAX_SIZE as f64, "mimi.frame_rate", || {
        format!("{} is too slow for sample_rate = {}", config.frame_rate, config.sample_rate)
    })?;
    let is_resampled = stride > 1.0;
    let outer_dim = config.outer_dim.filter(|_| is_resampled).unwrap_or(decoder.dimension);
    require(outer_dim.is_multiple_of(decoder.dimension), "mimi.outer_dim", || {
        format!("{outer_dim} is no multiple of the decoder's dimension {}", decoder.dimension)
    })?;
    let output_dimension = config.quantizer.output_dimension;
    require(output_dimension == outer_dim, "mimi.quantizer.output_dimension", || {
        format!("{output_dimension} differs from the {outer_dim} channels that the decoder takes")
    })?;
    let inner_dim = config.inner_dim.unwrap_or(encoder.dimension);
    require(is_resampled || inner_dim == encoder.dimension, "mimi.inner_dim", || {
        format!("{inner_dim} differs from mimi.seanet.dimension = {}", encoder.dimension)
    })
}

fn check_transformer(config: &MimiTransformerConfig, key: &str, dimension: usize) -> Result<(), Fault> {
    let heads_key = format!("{key}.num_heads");
    check_heads(config.d_model, "d_model", config.num_heads, &heads_key)?;
    require(config.input_dimension == dimension, &format!("{key}.input_dimension"), || {
        format!("{} differs from the convolutions' dimension {dimension}", config.input_dimension)
    })?;
    require(config.output_dimensions == [dimension], &format!("{key}.output_dimensions"), || {
        format!("{:?} should be [{dimension}], as the convolutions", config.output_dimensions)
    })
}

fn check_seanet(config: &SeanetConfig, key: &str) -> Result<(), Fault> {
    require(config.channels == 1, &format!("{key}.channels"), || {
        format!("{} channels are not supported; the audio is mono", config.channels)
    })?;
    let ratios = config.ratios.iter().copied();
    require(is_product_in_range(1, ratios), &format!("{key}.ratios"), || format!("their product exceeds {MAX_SIZE}"))?;
    let doublings = config.ratios.iter().map(|_| 2);
    require(is_product_in_range(config.n_filters, doublings), &format!("{key}.n_filters"), || {
        format!("{} doubled for every ratio exceeds {MAX_SIZE}", config.n_filters)
    })?;
    let (base, power) = (config.dilation_base, config.n_residual_layers.saturating_sub(1));
    require(is_product_in_range(1, std::iter::repeat_n(base, power)), &format!("{key}.dilation_base"), || {
        format!("the last dilation, {base} to the power {power}, exceeds {MAX_SIZE}")
    })?;
    let has_hidden = config.n_residual_layers == 0 || config.n_filters >= config.compress;
    require(has_hidden, &format!("{key}.compress"), || {
        format!("{} exceeds n_filters = {}", config.compress, config.n_filters)
    })
}

/// Whether all partial products stay within the largest size.
fn is_product_in_range(start: usize, mut factors: impl Iterator<Item = usize>) -> bool {
    let product =
        factors.try_fold(start, |product, factor| product.checked_mul(factor).filter(|&product| product <= MAX_SIZE));
    product.is_some()
}
