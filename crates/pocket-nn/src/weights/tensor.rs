//! One named tensor: a type, a shape and little-endian bytes that it shares with its file.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use half::{bf16, f16};
use pocket_kernels::aligned::elements;
use pocket_kernels::element::Plain;
use pocket_kernels::mapped::FilePart;
use safetensors::Dtype;

use super::mmap::Buffer;

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DType {
    /// 32-bit float.
    F32,
    /// The upper half of a 32-bit float.
    Bf16,
    /// IEEE half precision.
    F16,
    /// 64-bit signed integer: offsets in voice states.
    I64,
    /// A type that can be stored, but that no model part reads.
    Other(&'static str),
}

impl DType {
    /// Whether the model can read the elements as floats.
    #[must_use]
    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::Bf16 | Self::F16)
    }

    pub(super) fn from_safetensors(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32,
            Dtype::BF16 => Self::Bf16,
            Dtype::F16 => Self::F16,
            Dtype::I64 => Self::I64,
            Dtype::F64 => Self::Other("F64"),
            Dtype::BOOL => Self::Other("BOOL"),
            Dtype::U8 => Self::Other("U8"),
            Dtype::I8 => Self::Other("I8"),
            Dtype::I16 => Self::Other("I16"),
            Dtype::U16 => Self::Other("U16"),
            Dtype::I32 => Self::Other("I32"),
            Dtype::U32 => Self::Other("U32"),
            Dtype::U64 => Self::Other("U64"),
            Dtype::C64 => Self::Other("C64"),
            _ => Self::Other("an 8-bit or smaller float"),
        }
    }

    /// The type as safetensors names it; `None` for types that are never written.
    pub(super) fn to_safetensors(self) -> Option<Dtype> {
        match self {
            Self::F32 => Some(Dtype::F32),
            Self::Bf16 => Some(Dtype::BF16),
            Self::F16 => Some(Dtype::F16),
            Self::I64 => Some(Dtype::I64),
            Self::Other(_) => None,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "F32",
            Self::Bf16 => "BF16",
            Self::F16 => "F16",
            Self::I64 => "I64",
            Self::Other(name) => name,
        })
    }
}

/// A named tensor in row-major order; cloning shares the bytes.
#[derive(Clone)]
pub struct Tensor {
    name: Arc<str>,
    shape: Arc<[usize]>,
    dtype: DType,
    buffer: Arc<Buffer>,
    range: Range<usize>,
}

impl Tensor {
    /// A view of `range` in `buffer`, which the caller has checked against type and shape.
    pub(super) fn from_buffer(
        name: &str,
        shape: &[usize],
        dtype: DType,
        buffer: &Arc<Buffer>,
        range: Range<usize>,
    ) -> Self {
        Self { name: name.into(), shape: shape.into(), dtype, buffer: Arc::clone(buffer), range }
    }

    /// Makes a float tensor of its own.
    ///
    /// # Panics
    /// When `values` does not fill `shape`.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "the tensor takes the values over")]
    pub fn from_f32(name: impl AsRef<str>, shape: &[usize], values: Vec<f32>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "values must fill the shape");
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self::from_owned(name.as_ref(), shape, DType::F32, bytes)
    }

    /// Makes an integer tensor of its own.
    ///
    /// # Panics
    /// When `values` does not fill `shape`.
    #[must_use]
    pub fn from_i64(name: impl AsRef<str>, shape: &[usize], values: &[i64]) -> Self {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "values must fill the shape");
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self::from_owned(name.as_ref(), shape, DType::I64, bytes)
    }

    fn from_owned(name: &str, shape: &[usize], dtype: DType, bytes: Vec<u8>) -> Self {
        let range = 0..bytes.len();
        Self::from_buffer(name, shape, dtype, &Arc::new(Buffer::Owned(bytes)), range)
    }

    /// The full name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The sizes, outermost first.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The type of the elements.
    #[must_use]
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// How many elements there are.
    #[must_use]
    pub fn numel(&self) -> usize {
        self.shape.iter().product()
    }

    /// The elements in little-endian order, at any alignment.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.range.clone()]
    }

    /// The part of the file that the elements are mapped from; `None` if they are in memory of their own.
    #[must_use]
    pub fn file_part(&self) -> Option<FilePart> {
        match &*self.buffer {
            Buffer::Mapped(file) => FilePart::new(file, self.range.clone()),
            Buffer::Owned(_) => None,
        }
    }

    /// Gives the memory of elements that are mapped from a file back; they are read from the file again if
    /// they are needed again.
    pub fn release(&self) {
        if let Some(part) = self.file_part() {
            part.release();
        }
    }

    /// Tells the system that the whole file will be read soon, and then again and again.
    pub(super) fn prefetch_file(&self) {
        if let Buffer::Mapped(file) = &*self.buffer {
            file.prefer_large_pages();
            file.prefetch();
        }
    }

    /// The elements as floats; BF16 and F16 are widened exactly.
    ///
    /// # Panics
    /// When the tensor holds no floats, which [`Weights::get`](super::Weights::get) rules out.
    #[must_use]
    pub fn to_f32(&self) -> Vec<f32> {
        match self.dtype {
            DType::F32 => self.elements(f32::from_le_bytes),
            DType::Bf16 => self.elements(|bytes| bf16::from_le_bytes(bytes).to_f32()),
            DType::F16 => self.elements(|bytes| f16::from_le_bytes(bytes).to_f32()),
            DType::I64 | DType::Other(_) => panic!("{self:?} holds no floats"),
        }
    }

    /// Writes row `row` of a float matrix `[rows, width]` to `out` `[width]`.
    ///
    /// # Panics
    /// When the tensor is no float matrix, or the row or the width does not fit.
    pub fn row_into(&self, row: usize, out: &mut [f32]) {
        let [rows, width] = *self.shape else { panic!("{self:?} is no matrix") };
        assert!(row < rows && out.len() == width, "{self:?} has no row {row} of width {}", out.len());
        self.values_into(row * width, out);
    }

    /// Writes the elements from `start` on to `out`.
    ///
    /// # Panics
    /// When the tensor holds no floats, or `out` is longer than what follows `start`.
    pub fn values_into(&self, start: usize, out: &mut [f32]) {
        let n = self.numel();
        assert!(start <= n && out.len() <= n - start, "{self:?} has no {} values from {start} on", out.len());
        let size = self.bytes().len() / n.max(1);
        let bytes = &self.bytes()[start * size..(start + out.len()) * size];
        match self.dtype {
            DType::F32 => read_into(bytes, out, f32::from_le_bytes),
            DType::Bf16 => read_into(bytes, out, |bytes| bf16::from_le_bytes(bytes).to_f32()),
            DType::F16 => read_into(bytes, out, |bytes| f16::from_le_bytes(bytes).to_f32()),
            DType::I64 | DType::Other(_) => panic!("{self:?} holds no floats"),
        }
    }

    /// The elements as floats; without a copy where they are stored and aligned as such.
    ///
    /// # Panics
    /// As [`Self::to_f32`].
    #[must_use]
    pub fn floats(&self) -> Cow<'_, [f32]> {
        let stored = if self.dtype == DType::F32 { self.native_elements() } else { None };
        stored.map_or_else(|| Cow::Owned(self.to_f32()), Cow::Borrowed)
    }

    /// The bits of a BF16 tensor; without a copy where they are aligned.
    ///
    /// # Panics
    /// When the tensor holds other elements.
    #[must_use]
    pub fn bf16_bits(&self) -> Cow<'_, [u16]> {
        assert_eq!(self.dtype, DType::Bf16, "{self:?} holds no BF16");
        self.native_elements().map_or_else(|| Cow::Owned(self.elements(u16::from_le_bytes)), Cow::Borrowed)
    }

    /// Writes the elements, rounded to the nearest BF16, as bits to `out`.
    ///
    /// # Panics
    /// When the tensor holds no floats, or `out` is not as long as it.
    pub fn bf16_bits_into(&self, out: &mut [u16]) {
        assert_eq!(out.len(), self.numel(), "one place for each element of {self:?}");
        if self.dtype == DType::Bf16 {
            out.copy_from_slice(&self.bf16_bits());
            return;
        }
        for (out, x) in out.iter_mut().zip(&*self.floats()) {
            *out = bf16::from_f32(*x).to_bits();
        }
    }

    fn native_elements<T: Plain>(&self) -> Option<&[T]> {
        if cfg!(target_endian = "little") { elements(self.bytes()) } else { None }
    }

    /// The elements of an I64 tensor; `None` for other types.
    #[must_use]
    pub fn to_i64(&self) -> Option<Vec<i64>> {
        (self.dtype == DType::I64).then(|| self.elements(i64::from_le_bytes))
    }

    /// The same tensor under another name.
    #[must_use]
    pub fn with_name(&self, name: impl AsRef<str>) -> Self {
        Self { name: name.as_ref().into(), ..self.clone() }
    }

    /// The same elements in another shape.
    ///
    /// # Panics
    /// When the number of elements differs.
    #[must_use]
    pub fn with_shape(&self, shape: &[usize]) -> Self {
        assert_eq!(shape.iter().product::<usize>(), self.numel(), "reshaping keeps the elements");
        Self { shape: shape.into(), ..self.clone() }
    }

    /// The same floats stored as `dtype`, rounded to nearest even.
    ///
    /// # Panics
    /// When either type is no float.
    #[must_use]
    pub fn to_dtype(&self, dtype: DType) -> Self {
        if self.dtype == dtype {
            return self.clone();
        }
        let values = self.to_f32().into_iter();
        let bytes = match dtype {
            DType::F32 => values.flat_map(f32::to_le_bytes).collect(),
            DType::Bf16 => values.flat_map(|value| bf16::from_f32(value).to_le_bytes()).collect(),
            DType::F16 => values.flat_map(|value| f16::from_f32(value).to_le_bytes()).collect(),
            DType::I64 | DType::Other(_) => panic!("{dtype} is no float type"),
        };
        Self::from_owned(&self.name, &self.shape, dtype, bytes)
    }

    fn elements<const N: usize, T>(&self, from_le_bytes: impl Fn([u8; N]) -> T) -> Vec<T> {
        let (elements, rest) = self.bytes().as_chunks::<N>();
        debug_assert!(rest.is_empty(), "the parser checked the size");
        elements.iter().map(|&bytes| from_le_bytes(bytes)).collect()
    }
}

fn read_into<const N: usize>(bytes: &[u8], out: &mut [f32], from_le_bytes: impl Fn([u8; N]) -> f32) {
    for (out, &bytes) in out.iter_mut().zip(bytes.as_chunks::<N>().0) {
        *out = from_le_bytes(bytes);
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tensor {} {} {:?}", self.name, self.dtype, self.shape)
    }
}
