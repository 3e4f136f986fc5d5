//! What tests and benches share: random weights under the names that layers ask for.

use pocket_kernels::conv1d::ConvShape;
use pocket_kernels::testing::{Rng, uniform};

use crate::transformer::TransformerConfig;
use crate::weights::{DType, Tensor, WeightMap, Weights};

/// Tensors of one layer, drawn one after the other from one seed.
#[derive(Clone, Debug)]
pub struct RandomWeights {
    map: WeightMap,
    rng: Rng,
}

impl RandomWeights {
    /// No tensors yet.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { map: WeightMap::new(), rng: Rng::new(seed) }
    }

    /// Adds `name` with values between `-bound` and `bound`.
    #[must_use]
    pub fn with(mut self, name: impl AsRef<str>, shape: &[usize], bound: f32) -> Self {
        let values = uniform(self.rng.next_u64(), shape.iter().product(), -bound, bound);
        self.map.insert(Tensor::from_f32(name, shape, values));
        self
    }

    /// Adds a matrix `[out, in]` that keeps the size of its input: a variance of 1 / in.
    #[must_use]
    pub fn with_matrix(self, name: impl AsRef<str>, out_features: usize, in_features: usize) -> Self {
        let bound = (3.0 / in_features as f32).sqrt();
        self.with(name, &[out_features, in_features], bound)
    }

    /// Adds a norm, `weight` around one and `bias` around zero.
    #[must_use]
    pub fn with_norm(mut self, name: &str, width: usize) -> Self {
        let weight = uniform(self.rng.next_u64(), width, 0.5, 1.5);
        self.map.insert(Tensor::from_f32(format!("{name}.weight"), &[width], weight));
        self.with(format!("{name}.bias"), &[width], 0.5)
    }

    /// The tensors of a transformer.
    #[must_use]
    pub fn of_transformer(seed: u64, config: &TransformerConfig) -> Self {
        let width = config.width;
        let (query, kv) = (config.attention.query_width(), config.attention.kv_width());
        let mut weights = Self::new(seed);
        for layer in 0..config.n_layers {
            let name = |name: &str| format!("layers.{layer}.{name}");
            weights = weights
                .with_norm(&name("norm1"), width)
                .with_matrix(name("self_attn.in_proj.weight"), query + 2 * kv, width)
                .with_matrix(name("self_attn.out_proj.weight"), width, query)
                .with_norm(&name("norm2"), width)
                .with_matrix(name("linear1.weight"), config.feed_forward, width)
                .with_matrix(name("linear2.weight"), width, config.feed_forward);
            if config.has_layer_scale {
                weights = weights.with(name("layer_scale_1.scale"), &[width], 1.0);
                weights = weights.with(name("layer_scale_2.scale"), &[width], 1.0);
            }
        }
        weights
    }

    /// The tensors of a convolution with a bias, their sizes such that the output is about as large
    /// as the input; `weight` has the given shape.
    #[must_use]
    pub fn of_convolution(seed: u64, weight: &[usize], shape: ConvShape) -> Self {
        let terms = shape.in_channels / shape.groups * shape.kernel;
        Self::new(seed).with("weight", weight, (3.0 / terms as f32).sqrt()).with("bias", &[shape.out_channels], 0.5)
    }

    /// The tensor `name`.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn get(&self, name: &str) -> &Tensor {
        self.map.get(name).unwrap_or_else(|| panic!("no tensor {name}"))
    }

    /// The same tensors, stored as `dtype`.
    #[must_use]
    pub fn to_dtype(&self, dtype: DType) -> Self {
        let mut map = WeightMap::new();
        for tensor in self.map.iter() {
            map.insert(tensor.to_dtype(dtype));
        }
        Self { map, rng: self.rng.clone() }
    }

    /// The same tensors for a layer to load.
    #[must_use]
    pub fn weights(&self) -> Weights {
        Weights::new(self.map.clone(), "random weights")
    }
}
