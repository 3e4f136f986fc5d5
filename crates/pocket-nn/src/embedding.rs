//! A table of rows looked up by token id, left in the file's memory and type.

use crate::error::WeightsError;
use crate::weights::{Tensor, Weights};

/// An embedding table `[n_rows, width]`.
#[derive(Debug)]
pub struct Embedding {
    table: Tensor,
}

impl Embedding {
    /// Loads `weight` `[n_rows, width]`.
    ///
    /// # Errors
    /// When the tensor is missing or has another shape.
    pub fn load(weights: &Weights, n_rows: usize, width: usize) -> Result<Self, WeightsError> {
        Ok(Self { table: weights.get("weight", &[n_rows, width])? })
    }

    /// Number of rows.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.table.shape()[0]
    }

    /// Width of a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.table.shape()[1]
    }

    /// Writes the rows of `ids` to `out` `[ids, width]`.
    ///
    /// # Panics
    /// If an id is not below the number of rows, or `out` has another size.
    pub fn forward_into(&self, ids: &[u32], out: &mut [f32]) {
        assert_eq!(out.len(), ids.len() * self.width(), "the output holds one row per id");
        for (&id, out) in ids.iter().zip(out.chunks_exact_mut(self.width())) {
            self.table.row_into(id as usize, out);
        }
    }
}
