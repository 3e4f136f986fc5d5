//! Slices, unsafe and CPU features: the f32 kernels.
