//! f32 kernels of Pocket TTS over plain slices, chosen at run time for the CPU.
//!
//! Every kernel exists twice: as a scalar specification (plain loops, the level `scalar`) and once
//! generic over [`simd::Simd`], compiled for every instruction set. A [`Level`] is detected once and
//! passed down. All matrices are row-major `[rows, columns]`; a sequence is `[positions, channels]`.
//!
//! At one level a result depends on the values alone: never on the number of rows that go through
//! together, nor on the number of threads.

pub mod activation;
pub mod aligned;
pub mod attention;
pub mod bf16;
pub mod conv1d;
mod dispatch;
pub mod element;
pub mod gemm;
pub mod heap;
mod level;
pub mod mapped;
mod math;
pub mod norm;
pub mod packed;
pub mod parallel;
pub mod quantized;
pub mod rope;
pub mod simd;
pub mod softmax;
pub mod testing;

pub use dispatch::SimdOp;
pub use level::{Level, LevelError, cpu_features};
