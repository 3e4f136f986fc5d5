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
