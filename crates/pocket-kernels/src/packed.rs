//! Packed matrices in files: the arrays that a matrix consists of, as they lie in memory.
//!
//! A matrix gives its arrays by `parts`, and is made of mapped ones by `from_parts`, which asks for the
//! same arrays in the same order and takes them as they are.

use crate::aligned::Constants;
use crate::element::Plain;
use crate::mapped::FilePart;

/// Stands for the layout and the values of all packed matrices: matrices that another version packed are
/// not to be used. Raise it with every change of what packing writes.
pub const LAYOUT_VERSION: u32 = 1;

/// One array of a packed matrix.
#[derive(Clone, Debug)]
pub struct Part<'a> {
    /// Type of the numbers, as safetensors names it.
    pub dtype: &'static str,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// The numbers as they lie in memory, a multiple of 64 bytes.
    pub bytes: &'a [u8],
}

/// Where the arrays of a matrix come from, one after the other.
pub trait Parts {
    /// The next array; nothing if there is none of that type and shape.
    fn next(&mut self, dtype: &'static str, shape: &[usize]) -> Option<FilePart>;
}

/// `values` as an array of `shape`.
pub(crate) fn part<'a, T: Plain>(values: &'a Constants<T>, shape: &[usize]) -> Part<'a> {
    debug_assert_eq!(shape.iter().product::<usize>(), values.as_slice().len());
    Part { dtype: T::NAME, shape: shape.to_vec(), bytes: values.as_bytes() }
}

/// The next array as values; nothing if it does not have that type, shape and alignment.
pub(crate) fn next_values<T: Plain>(parts: &mut dyn Parts, shape: &[usize]) -> Option<Constants<T>> {
    let values = Constants::from_part(parts.next(T::NAME, shape)?)?;
    (values.as_slice().len() == shape.iter().product::<usize>()).then_some(values)
}

#[cfg(test)]
mod tests {
    use super::LAYOUT_VERSION;
    use crate::conv1d::{ConvMatrix, ConvShape, ConvTransposeMatrix};
    use crate::gemm::{PackedMatrix, Values};
    use crate::parallel::Pool;
    use crate::quantized::{QuantFormat, QuantizedMatrix};
    use crate::testing::uniform;

    const DENSE: ConvShape =
        ConvShape { in_channels: 33, out_channels: 20, kernel: 5, stride: 2, dilation: 1, groups: 1 };
    const GROUPED: ConvShape = ConvShape { in_channels: 40, out_channels: 30, groups: 10, ..DENSE };

    /// Files of packed matrices outlive the program that wrote them.
    #[test]
    fn a_change_of_what_packing_writes_needs_another_version() {
        let pool = Pool::default();
        let values = uniform(5, 3300, -1.0, 1.0);
        let bits: Vec<u16> = values.iter().map(|x| (x.to_bits() >> 16) as u16).collect();
        let (floats, halves) = (Values::F32(&values), Values::Bf16(&bits));
        // FNV-1a over all arrays, their types and shapes.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut add = |parts: Vec<super::Part<'_>>| {
            for part in parts {
                assert!(part.bytes.len().is_multiple_of(64), "{} {:?}", part.dtype, part.shape);
                for byte in format!("{} {:?}", part.dtype, part.shape).bytes().chain(part.bytes.iter().copied()) {
                    hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
                }
            }
        };
        for values in [floats, halves] {
            add(PackedMatrix::from_rows(&pool, values, 33, 100).parts());
            for format in [None, Some(QuantFormat::I8), Some(QuantFormat::I12)] {
                add(ConvMatrix::new(&pool, DENSE, values, format).parts());
                add(ConvTransposeMatrix::new(&pool, DENSE, values, None, format).parts());
                if let Some(format) = format {
                    add(QuantizedMatrix::from_rows(&pool, format, values, 20, 165).parts());
                }
            }
        }
        add(ConvMatrix::new(&pool, GROUPED, Values::F32(&values[..600]), None).parts());
        assert_eq!((LAYOUT_VERSION, hash), (1, 0xda63_9b6f_5dff_9cb7), "raise `LAYOUT_VERSION`, then change this line");
    }
}
