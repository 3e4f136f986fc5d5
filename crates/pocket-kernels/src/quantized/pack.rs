//! Quantised constant matrices in the order that the kernel reads them.

use crate::aligned::{AlignedVec, Constants};
use crate::element::Plain;
use crate::gemm::{PANEL, Values};
use crate::packed::{Part, Parts, next_values, part};
use crate::parallel::Pool;

use super::{BLOCK, RowLayout};

/// How weights are stored; the sum of a block's products fits an i32 in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QuantFormat {
    /// Weights of 8 bits (±127), activations of 16 (±32639, which split into two signed
    /// bytes): a quarter of the memory of f32.
    I8,
    /// Weights of 12 bits (±2047) in 16, activations of 14 (±8191): half the memory of f32, an error a
    /// sixteenth of that of 8 bits, for products that are not bound by memory.
    I12,
}

impl QuantFormat {
    /// The largest magnitude of a weight.
    #[must_use]
    pub fn max_weight(self) -> i16 {
        match self {
            Self::I8 => 127,
            Self::I12 => 2047,
        }
    }

    /// The largest magnitude of an activation.
    #[must_use]
    pub fn max_activation(self) -> i16 {
        match self {
            Self::I8 => 127 * 256 + 127,
            Self::I12 => 8191,
        }
    }
}

pub(super) enum Data {
    I8(Constants<i8>),
    I12(Constants<i16>),
}

/// A quantised matrix `[out_features, taps * row_len]`, packed once.
///
/// Panels of 32 outputs; a panel is `[taps, pairs of inputs, 32 outputs, 2]` integers and
/// `[taps, blocks, 32]` scales, outputs past the end and odd inputs padded with zeros. The layout is the
/// same at every level.
pub struct QuantizedMatrix {
    out_features: usize,
    n_taps: usize,
    layout: RowLayout,
    pub(super) data: Data,
    pub(super) scales: Constants<f32>,
}

impl QuantizedMatrix {
    /// Quantises the matrix whose value at output `m`, tap `t`, input `k` is the one of `values` at
    /// `index(m, t * row_len + k)`, or zero for `None`.
    ///
    /// # Panics
    /// If an index is out of range.
    pub fn gather(
        pool: &Pool,
        format: QuantFormat,
        out_features: usize,
        (n_taps, row_len): (usize, usize),
        values: Values<'_>,
        index: impl Fn(usize, usize) -> Option<usize> + Send + Sync,
    ) -> Self {
        let layout = RowLayout::new(row_len);
        let get = |m: usize, k: usize| index(m, k).map_or(0.0, |i| values.get(i));
        let shape = (out_features, n_taps, layout);
        let limit = f32::from(format.max_weight());
        let scales = scales(pool, shape, limit, &get);
        let data = match format {
            QuantFormat::I8 => Data::I8(integers(pool, shape, scales.as_slice(), &get, |q| q as i8)),
            QuantFormat::I12 => Data::I12(integers(pool, shape, scales.as_slice(), &get, |q| q as i16)),
        };
        Self { out_features, n_taps, layout, data, scales }
    }

    /// Quantises a row-major matrix.
    ///
    /// # Panics
    /// If `values` is not `out_features * in_features` long.
    #[must_use]
    pub fn from_rows(
        pool: &Pool,
        format: QuantFormat,
        values: Values<'_>,
        out_features: usize,
        in_features: usize,
    ) -> Self {
        assert_eq!(values.len(), out_features * in_features, "the matrix has another size");
        Self::gather(pool, format, out_features, (1, in_features), values, |m, k| Some(m * in_features + k))
    }

    /// The matrix that [`Self::parts`] gave the next two of `parts` of; nothing if they are of another type or
    /// size.
    #[must_use]
    pub fn from_parts(
        format: QuantFormat,
        out_features: usize,
        (n_taps, row_len): (usize, usize),
        parts: &mut dyn Parts,
    ) -> Option<Self> {
        let layout = RowLayout::new(row_len);
        let (integers, scales) = shapes((out_features, n_taps, layout));
        let data = match format {
            QuantFormat::I8 => Data::I8(next_values(parts, &integers)?),
            QuantFormat::I12 => Data::I12(next_values(parts, &integers)?),
        };
        Some(Self { out_features, n_taps, layout, data, scales: next_values(parts, &scales)? })
    }

    /// The arrays that it consists of: integers, scales.
    #[must_use]
    pub fn parts(&self) -> Vec<Part<'_>> {
        let (integers, scales) = shapes((self.out_features, self.n_taps, self.layout));
        let integers = match &self.data {
            Data::I8(data) => part(data, &integers),
            Data::I12(data) => part(data, &integers),
        };
        vec![integers, part(&self.scales, &scales)]
    }

    /// Number of outputs.
    #[must_use]
    pub fn out_features(&self) -> usize {
        self.out_features
    }

    /// Number of inputs, all taps together.
    #[must_use]
    pub fn in_features(&self) -> usize {
        self.n_taps * self.layout.row_len()
    }

    /// Taps of a window.
    #[must_use]
    pub fn n_taps(&self) -> usize {
        self.n_taps
    }

    /// Layout of a tap's input.
    #[must_use]
    pub fn layout(&self) -> RowLayout {
        self.layout
    }

    /// How the weights are stored.
    #[must_use]
    pub fn format(&self) -> QuantFormat {
        match self.data {
            Data::I8(_) => QuantFormat::I8,
            Data::I12(_) => QuantFormat::I12,
        }
    }

    /// Bytes of the packed form.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        let integers = match &self.data {
            Data::I8(data) => size_of_val(data.as_slice()),
            Data::I12(data) => size_of_val(data.as_slice()),
        };
        integers + size_of_val(self.scales.as_slice())
    }

    /// The integer at output `m`, tap `tap`, input `k`.
    pub(super) fn integer(&self, m: usize, tap: usize, k: usize) -> i32 {
        let padded = self.layout.padded_len();
        let index = ((m / PANEL * self.n_taps + tap) * padded + k / 2 * 2) * PANEL + m % PANEL * 2 + k % 2;
        match &self.data {
            Data::I8(data) => data.as_slice()[index].into(),
            Data::I12(data) => data.as_slice()[index].into(),
        }
    }

    /// The scale of output `m`, tap `tap`, block `block`.
    pub(super) fn scale(&self, m: usize, tap: usize, block: usize) -> f32 {
        let blocks = self.layout.n_blocks();
        self.scales.as_slice()[((m / PANEL * self.n_taps + tap) * blocks + block) * PANEL + m % PANEL]
    }

    /// The value that stands for the one at output `m`, tap `tap`, input `k`.
    #[must_use]
    pub fn at(&self, m: usize, tap: usize, k: usize) -> f32 {
        self.integer(m, tap, k) as f32 * self.scale(m, tap, k / BLOCK)
    }
}

type Shape = (usize, usize, RowLayout);

/// Integers `[panels, taps, pairs of inputs, 32 outputs, 2]` and scales `[panels, taps, blocks, 32]`.
fn shapes((out_features, n_taps, layout): Shape) -> ([usize; 5], [usize; 4]) {
    let n_panels = out_features.div_ceil(PANEL);
    ([n_panels, n_taps, layout.padded_len() / 2, PANEL, 2], [n_panels, n_taps, layout.n_blocks(), PANEL])
}

/// `largest magnitude / limit` of every panel, tap, block and output.
fn scales(
    pool: &Pool,
    (out_features, n_taps, layout): Shape,
    limit: f32,
    get: &(impl Fn(usize, usize) -> f32 + Send + Sync),
) -> Constants<f32> {
    let n_blocks = n_taps * layout.n_blocks();
    let mut scales = AlignedVec::zeroed(out_features.div_ceil(PANEL) * n_blocks * PANEL);
    let work = out_features * n_taps * layout.row_len();
    pool.for_each_chunk(scales.as_mut_slice(), n_blocks * PANEL, work, |panel, scales| {
        for (block, scales) in scales.chunks_exact_mut(PANEL).enumerate() {
            let first = block / layout.n_blocks() * layout.row_len();
            for (m, scale) in (panel * PANEL..out_features).zip(scales) {
                let largest = layout
                    .block(block % layout.n_blocks())
                    .fold(0.0_f32, |largest, k| largest.max(get(m, first + k).abs()));
                *scale = largest / limit;
            }
        }
    });
    scales.into()
}

fn integers<T: Plain>(
    pool: &Pool,
    (out_features, n_taps, layout): Shape,
    scales: &[f32],
    get: &(impl Fn(usize, usize) -> f32 + Send + Sync),
    narrow: impl Fn(f32) -> T + Send + Sync,
) -> Constants<T> {
    let panel_len = n_taps * layout.padded_len() * PANEL;
    let n_blocks = layout.n_blocks();
    let mut data = AlignedVec::zeroed(out_features.div_ceil(PANEL) * panel_len);
    let work = out_features * n_taps * layout.row_len();
    pool.for_each_chunk(data.as_mut_slice(), panel_len, work, |panel, data| {
        for (tap, data) in data.chunks_exact_mut(layout.padded_len() * PANEL).enumerate() {
            for k in 0..layout.row_len() {
                let scales = &scales[((panel * n_taps + tap) * n_blocks + k / BLOCK) * PANEL..][..PANEL];
                for (i, (m, scale)) in (panel * PANEL..out_features).zip(scales).enumerate() {
                    let value = get(m, tap * layout.row_len() + k);
                    let integer = if *scale > 0.0 { (value / scale).round_ties_even() } else { 0.0 };
                    data[(k / 2 * PANEL + i) * 2 + k % 2] = narrow(integer);
                }
            }
        }
    });
    data.into()
}

impl std::fmt::Debug for QuantizedMatrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "QuantizedMatrix({:?} [{}, {}])", self.format(), self.out_features, self.in_features())
    }
}
