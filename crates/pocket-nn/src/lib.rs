//! Layers, weights and K/V cache.
