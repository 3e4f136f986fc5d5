//! Layers, weights and K/V cache.

pub mod error;
pub mod weights;

pub use error::{ErrorKind, WeightsError};
pub use weights::{DType, Tensor, WeightMap, Weights};
