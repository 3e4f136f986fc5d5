//! Streaming convolutions: the layer's state holds the positions that the next call still needs.
//!
//! Data is `[positions, channels]`. An activation before the convolution is applied as the input is
//! copied behind the history, so the history holds activated values.
//! Source: `pocket_tts.modules.conv`, `pocket_tts.modules.resample`.

use std::slice;

use pocket_kernels::activation::Activation;
use pocket_kernels::conv1d::{ConvMatrix, ConvShape, ConvTransposeMatrix, DepthwiseUpsample, Window};
use pocket_kernels::gemm::{Epilogue, Values};
use pocket_kernels::parallel::Pool;
use pocket_kernels::quantized::{QuantFormat, RowLayout};

use crate::arena::ArenaBuf;
use crate::context::{Context, Rows};
use crate::error::WeightsError;
use crate::matrix::{RowBuffers, packed_dtype, with_values};
use crate::weights::Weights;

/// What stands before the first position of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// Zeros.
    Zeros,
    /// The first position, repeated.
    Replicate,
}

/// The latest inputs of one streaming convolution, `[history, in_channels]`.
#[derive(Clone, Debug)]
pub struct ConvState {
    history: Vec<f32>,
    started: bool,
}

impl ConvState {
    fn new(history: usize, channels: usize) -> Self {
        Self { history: vec![0.0; history * channels], started: false }
    }

    /// The window of this call: history, then `x`, activated; keeps its end as the next history.
    fn window<'a>(
        &mut self,
        ctx: Context<'a>,
        x: &[f32],
        channels: usize,
        activation: Option<Activation>,
        padding: Padding,
    ) -> ArenaBuf<'a> {
        let n_history = self.history.len();
        let mut window = ctx.arena.take(n_history + x.len());
        match activation {
            Some(activation) => activation.apply_into(ctx.level, x, &mut window[n_history..]),
            None => window[n_history..].copy_from_slice(x),
        }
        if !self.started && padding == Padding::Replicate && !x.is_empty() {
            let (history, new) = window.split_at_mut(n_history);
            for row in history.chunks_exact_mut(channels) {
                row.copy_from_slice(&new[..channels]);
            }
        } else {
            window[..n_history].copy_from_slice(&self.history);
        }
        self.started |= !x.is_empty();
        let end = window.len();
        self.history.copy_from_slice(&window[end - n_history..]);
        window
    }
}

/// A streaming convolution with its weights.
#[derive(Debug)]
pub struct Conv1d {
    matrix: ConvMatrix,
    bias: Option<Vec<f32>>,
    padding: Padding,
    activation: Option<Activation>,
}

impl Conv1d {
    /// Loads `weight` `[out_channels, in_channels / groups, kernel]` and, with `has_bias`, `bias`.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    pub fn load(
        weights: &Weights,
        pool: &Pool,
        shape: ConvShape,
        has_bias: bool,
        padding: Padding,
    ) -> Result<Self, WeightsError> {
        let weight = weights.get("weight", &[shape.out_channels, shape.in_channels / shape.groups, shape.kernel])?;
        let bias = if has_bias { Some(weights.get("bias", &[shape.out_channels])?.to_f32()) } else { None };
        let format = quantized(weights, shape);
        let dtype = packed_dtype(&weight, weights.format());
        let matrix = weights.packs().matrix(
            weight.name(),
            |parts| ConvMatrix::from_parts(shape, dtype, format, parts),
            || with_values(slice::from_ref(&weight), dtype, |values| ConvMatrix::new(pool, shape, values, format)),
        );
        Ok(Self { matrix, bias, padding, activation: None })
    }

    /// The same layer with an activation before it.
    #[must_use]
    pub fn after(self, activation: Activation) -> Self {
        Self { activation: Some(activation), ..self }
    }

    /// Sizes.
    #[must_use]
    pub fn shape(&self) -> ConvShape {
        self.matrix.shape()
    }

    /// A state before the first position.
    #[must_use]
    pub fn new_state(&self) -> ConvState {
        ConvState::new(self.shape().history(), self.shape().in_channels)
    }

    /// Convolves `x` `[positions, in_channels]` into `out` `[positions / stride, out_channels]`;
    /// with `accumulate` adds to `out`.
    ///
    /// Every stream has `rows.n * per_row` positions, a multiple of the stride; `select` finds this
    /// layer's state in the stream's.
    ///
    /// # Panics
    /// If the sizes do not fit.
    #[expect(clippy::too_many_arguments, reason = "the data, and how the streams share it")]
    pub fn step<S>(
        &self,
        ctx: Context<'_>,
        x: &[f32],
        per_row: usize,
        streams: &mut [Rows<'_, S>],
        select: impl Fn(&mut S) -> &mut ConvState,
        accumulate: bool,
        out: &mut [f32],
    ) {
        let ConvShape { in_channels, out_channels, stride, .. } = self.shape();
        let epilogue = Epilogue { bias: self.bias.as_deref(), scale: None, accumulate };
        for_each_stream(x, in_channels, out, out_channels, per_row, streams, |state, x, out| {
            assert!((x.len() / in_channels).is_multiple_of(stride), "positions come in multiples of the stride");
            let window = select(state).window(ctx, x, in_channels, self.activation, self.padding);
            with_window(ctx, &window, self.matrix.quantization(), |window| {
                self.matrix.apply(ctx.level, ctx.pool, window, epilogue, out);
            });
        });
    }
}

#[derive(Debug)]
enum Transposed {
    Dense(ConvTransposeMatrix),
    Depthwise(DepthwiseUpsample),
}

/// A streaming transposed convolution with its weights.
#[derive(Debug)]
pub struct ConvTranspose1d {
    kind: Transposed,
    activation: Option<Activation>,
}

impl ConvTranspose1d {
    /// Loads `weight` `[in_channels, out_channels, kernel]` and `bias` `[out_channels]`.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    pub fn load(weights: &Weights, pool: &Pool, shape: ConvShape) -> Result<Self, WeightsError> {
        let weight = weights.get("weight", &[shape.in_channels, shape.out_channels, shape.kernel])?;
        let bias = weights.get("bias", &[shape.out_channels])?.to_f32();
        let format = quantized(weights, shape);
        let dtype = packed_dtype(&weight, weights.format());
        let pack = |values: Values<'_>| ConvTransposeMatrix::new(pool, shape, values, Some(&bias), format);
        let matrix = weights.packs().matrix(
            weight.name(),
            |parts| ConvTransposeMatrix::from_parts(shape, dtype, Some(&bias), format, parts),
            || with_values(slice::from_ref(&weight), dtype, pack),
        );
        Ok(Self { kind: Transposed::Dense(matrix), activation: None })
    }

    /// Loads `weight` `[in_channels, 1, kernel]`: one output channel per group, no bias.
    ///
    /// # Errors
    /// When the tensor is missing or has another shape.
    pub fn load_depthwise(weights: &Weights, shape: ConvShape) -> Result<Self, WeightsError> {
        let weight = weights.get("weight", &[shape.in_channels, 1, shape.kernel])?.to_f32();
        Ok(Self { kind: Transposed::Depthwise(DepthwiseUpsample::new(shape, &weight)), activation: None })
    }

    /// The same layer with an activation before it.
    #[must_use]
    pub fn after(self, activation: Activation) -> Self {
        Self { activation: Some(activation), ..self }
    }

    /// Sizes.
    #[must_use]
    pub fn shape(&self) -> ConvShape {
        match &self.kind {
            Transposed::Dense(matrix) => matrix.shape(),
            Transposed::Depthwise(upsample) => upsample.shape(),
        }
    }

    /// A state before the first position.
    #[must_use]
    pub fn new_state(&self) -> ConvState {
        ConvState::new(self.shape().transposed_history(), self.shape().in_channels)
    }

    /// Convolves `x` `[positions, in_channels]` into `out` `[positions * stride, out_channels]`.
    /// Streams as in [`Conv1d::step`].
    ///
    /// # Panics
    /// If the sizes do not fit.
    pub fn step<S>(
        &self,
        ctx: Context<'_>,
        x: &[f32],
        per_row: usize,
        streams: &mut [Rows<'_, S>],
        select: impl Fn(&mut S) -> &mut ConvState,
        out: &mut [f32],
    ) {
        let ConvShape { in_channels, out_channels, .. } = self.shape();
        for_each_stream(x, in_channels, out, out_channels, per_row, streams, |state, x, out| {
            let window = select(state).window(ctx, x, in_channels, self.activation, Padding::Zeros);
            match &self.kind {
                Transposed::Dense(matrix) => with_window(ctx, &window, matrix.quantization(), |window| {
                    matrix.apply(ctx.level, ctx.pool, window, out);
                }),
                Transposed::Depthwise(upsample) => upsample.apply(ctx.level, &window, out),
            }
        });
    }
}

/// Channels below which quantising a position costs more than it saves.
const MIN_QUANTIZED_CHANNELS: usize = 16;

/// The integers that a convolution's weights become, if any.
fn quantized(weights: &Weights, shape: ConvShape) -> Option<QuantFormat> {
    let is_wide = shape.in_channels.min(shape.out_channels) >= MIN_QUANTIZED_CHANNELS;
    weights.format().quantized().filter(|_| is_wide && shape.groups == 1)
}

/// Calls `convolve` with the window in the form that the layer takes.
fn with_window(
    ctx: Context<'_>,
    window: &[f32],
    quantization: Option<(RowLayout, QuantFormat)>,
    convolve: impl FnOnce(Window<'_>),
) {
    match quantization {
        None => convolve(Window::Float(window)),
        Some((layout, format)) => {
            let mut buffers = RowBuffers::take(ctx, layout, window.len());
            convolve(Window::Quantized(buffers.quantize(ctx, format, window)));
        }
    }
}

/// Splits `x` and `out` by stream.
fn for_each_stream<S>(
    mut x: &[f32],
    in_channels: usize,
    mut out: &mut [f32],
    out_channels: usize,
    per_row: usize,
    streams: &mut [Rows<'_, S>],
    mut each: impl FnMut(&mut S, &[f32], &mut [f32]),
) {
    let n_in = x.len() / in_channels;
    let n_out = out.len() / out_channels;
    for rows in streams {
        let n = rows.n * per_row;
        let (own, rest) = x.split_at(n * in_channels);
        x = rest;
        // Outputs are in proportion to inputs.
        let (own_out, rest) = std::mem::take(&mut out).split_at_mut(n * n_out / n_in.max(1) * out_channels);
        out = rest;
        if n > 0 {
            each(rows.state, own, own_out);
        }
    }
    assert!(x.is_empty() && out.is_empty(), "the streams have as many positions as the input");
}
