//! Layers over rows and streams: weights, linear layers, streaming convolutions, transformers.
//!
//! Weights are immutable and shared; a stream's state is its own. A call takes the rows of one or of
//! several streams, one after the other in one slice, and a slice of [`Rows`] that says whose they
//! are; the streams' results do not depend on each other.

pub mod arena;
pub mod attention;
pub mod context;
pub mod conv;
pub mod embedding;
pub mod error;
pub mod kv_cache;
pub mod linear;
mod matrix;
pub mod mlp;
pub mod norm;
pub mod packed;
pub mod testing;
pub mod timing;
pub mod transformer;
pub mod weights;

pub use arena::{Arena, ArenaBuf};
pub use context::{Context, Rows, total_rows};
pub use error::{ErrorKind, WeightsError};
pub use weights::{DType, MatrixFormat, Tensor, WeightMap, Weights};
