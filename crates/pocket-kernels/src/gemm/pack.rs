//! Constant matrices in the order that the kernels read them.

use crate::aligned::{AlignedVec, Constants};
use crate::element::{Bf16, Element};
use crate::packed::{Part, Parts, next_values, part};
use crate::parallel::Pool;

use super::PANEL;

/// Element type of a packed matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackedDType {
    /// 32-bit floats.
    F32,
    /// bfloat16, widened to f32 when read: half the memory, the same arithmetic.
    Bf16,
}

/// Values to pack, in the type that they keep.
#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    /// 32-bit floats.
    F32(&'a [f32]),
    /// bfloat16 bits.
    Bf16(&'a [u16]),
}

impl Values<'_> {
    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::Bf16(bits) => bits.len(),
        }
    }

    /// The value at `index`.
    ///
    /// # Panics
    /// If the index is out of range.
    #[must_use]
    pub fn get(&self, index: usize) -> f32 {
        match self {
            Self::F32(values) => values[index],
            Self::Bf16(bits) => Bf16::from_bits(bits[index]).to_f32(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

pub(super) enum Data {
    F32(Constants<f32>),
    Bf16(Constants<Bf16>),
}

/// A matrix `[out_features, in_features]` packed once: panels of 32 outputs, each panel
/// `[in_features, 32]`, the outputs past the end zero.
///
/// The layout is the same at every level.
pub struct PackedMatrix {
    out_features: usize,
    in_features: usize,
    pub(super) data: Data,
}

/// `[panels, in_features, 32]`.
fn shape(out_features: usize, in_features: usize) -> [usize; 3] {
    [out_features.div_ceil(PANEL), in_features, PANEL]
}

fn pack<T: Element>(
    pool: &Pool,
    out_features: usize,
    in_features: usize,
    get: &(impl Fn(usize, usize) -> T + Send + Sync),
) -> Constants<T> {
    let panel_len = in_features * PANEL;
    let mut data = AlignedVec::zeroed(out_features.div_ceil(PANEL) * panel_len);
    // Packing one value costs about as much as one multiply-add out of cache.
    let work = out_features * in_features;
    pool.for_each_chunk(data.as_mut_slice(), panel_len.max(1), work, |panel, data| {
        let first = panel * PANEL;
        for (i, m) in (first..(first + PANEL).min(out_features)).enumerate() {
            for k in 0..in_features {
                data[k * PANEL + i] = get(m, k);
            }
        }
    });
    data.into()
}

impl PackedMatrix {
    /// Packs the matrix whose value at output `m`, input `k` is the one of `values` at `index(m, k)`,
    /// or zero for `None`, in the type of `values`.
    ///
    /// # Panics
    /// If an index is out of range.
    pub fn gather(
        pool: &Pool,
        out_features: usize,
        in_features: usize,
        values: Values<'_>,
        index: impl Fn(usize, usize) -> Option<usize> + Send + Sync,
    ) -> Self {
        let data = match values {
            Values::F32(values) => {
                Data::F32(pack(pool, out_features, in_features, &|m, k| index(m, k).map_or(0.0, |i| values[i])))
            }
            Values::Bf16(bits) => Data::Bf16(pack(pool, out_features, in_features, &|m, k| {
                index(m, k).map_or_else(Bf16::default, |i| Bf16::from_bits(bits[i]))
            })),
        };
        Self { out_features, in_features, data }
    }

    /// Packs a row-major matrix.
    ///
    /// # Panics
    /// If `values` is not `out_features * in_features` long.
    #[must_use]
    pub fn from_rows(pool: &Pool, values: Values<'_>, out_features: usize, in_features: usize) -> Self {
        assert_eq!(values.len(), out_features * in_features, "the matrix has another size");
        Self::gather(pool, out_features, in_features, values, |m, k| Some(m * in_features + k))
    }

    /// Packs a row-major f32 matrix.
    ///
    /// # Panics
    /// If `values` is not `out_features * in_features` long.
    #[must_use]
    pub fn from_f32(pool: &Pool, values: &[f32], out_features: usize, in_features: usize) -> Self {
        Self::from_rows(pool, Values::F32(values), out_features, in_features)
    }

    /// Packs a row-major matrix of bf16 bits, which stays bf16 in memory.
    ///
    /// # Panics
    /// If `bits` is not `out_features * in_features` long.
    #[must_use]
    pub fn from_bf16(pool: &Pool, bits: &[u16], out_features: usize, in_features: usize) -> Self {
        Self::from_rows(pool, Values::Bf16(bits), out_features, in_features)
    }

    /// The matrix that [`Self::parts`] gave the next of `parts` of; nothing if that is of another type or size.
    #[must_use]
    pub fn from_parts(
        dtype: PackedDType,
        out_features: usize,
        in_features: usize,
        parts: &mut dyn Parts,
    ) -> Option<Self> {
        let shape = shape(out_features, in_features);
        let data = match dtype {
            PackedDType::F32 => Data::F32(next_values(parts, &shape)?),
            PackedDType::Bf16 => Data::Bf16(next_values(parts, &shape)?),
        };
        Some(Self { out_features, in_features, data })
    }

    /// The array that it consists of.
    #[must_use]
    pub fn parts(&self) -> Vec<Part<'_>> {
        let shape = shape(self.out_features, self.in_features);
        vec![match &self.data {
            Data::F32(data) => part(data, &shape),
            Data::Bf16(data) => part(data, &shape),
        }]
    }

    /// Number of outputs.
    #[must_use]
    pub fn out_features(&self) -> usize {
        self.out_features
    }

    /// Number of inputs.
    #[must_use]
    pub fn in_features(&self) -> usize {
        self.in_features
    }

    /// Element type.
    #[must_use]
    pub fn dtype(&self) -> PackedDType {
        match self.data {
            Data::F32(_) => PackedDType::F32,
            Data::Bf16(_) => PackedDType::Bf16,
        }
    }

    /// `[panels, in_features, PANEL]` if the matrix is bf16.
    pub(crate) fn bf16_panels(&self) -> Option<&[Bf16]> {
        match &self.data {
            Data::F32(_) => None,
            Data::Bf16(data) => Some(data.as_slice()),
        }
    }

    /// Bytes of the packed form.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        match &self.data {
            Data::F32(data) => size_of_val(data.as_slice()),
            Data::Bf16(data) => size_of_val(data.as_slice()),
        }
    }

    /// The value at output `m`, input `k`.
    #[must_use]
    pub fn at(&self, m: usize, k: usize) -> f32 {
        let index = (m / PANEL * self.in_features + k) * PANEL + m % PANEL;
        match &self.data {
            Data::F32(data) => data.as_slice()[index],
            Data::Bf16(data) => data.as_slice()[index].to_f32(),
        }
    }
}

impl std::fmt::Debug for PackedMatrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackedMatrix({:?} [{}, {}])", self.dtype(), self.out_features, self.in_features)
    }
}
