//! Attention of query rows over a K/V cache that lies in several segments.
//!
//! `out = softmax(q k^T / sqrt(head_dim)) v` per head; each K/V head serves `heads / kv_heads`
//! consecutive query heads. Scores are computed key by key into one row, so the result does not
//! depend on where one segment ends and the next begins.
//! Source: `torch.nn.functional.scaled_dot_product_attention`.

use std::ops::Range;

use crate::dispatch::SimdOp;
use crate::element::Element;
use crate::level::Level;
use crate::simd::Simd;
use crate::softmax;

/// Head layout of an attention layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
}

impl AttentionShape {
    /// Width of a query row and of an output row.
    #[must_use]
    pub fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of a key row and of a value row.
    #[must_use]
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }
}

/// Consecutive positions of a K/V cache: `[kv_heads, capacity, head_dim]`, of which the first `len`
/// positions of each head are in use.
#[derive(Clone, Copy, Debug)]
pub struct KvSegment<'a, T> {
    keys: &'a [T],
    values: &'a [T],
    len: usize,
    capacity: usize,
}

impl<'a, T> KvSegment<'a, T> {
    /// A segment of `len` positions.
    ///
    /// # Panics
    /// If `keys` or `values` is not `kv_heads * capacity * head_dim` long, or `len` exceeds `capacity`.
    #[must_use]
    pub fn new(shape: AttentionShape, keys: &'a [T], values: &'a [T], len: usize, capacity: usize) -> Self {
        assert!(len <= capacity, "more positions than the segment holds");
        assert_eq!(keys.len(), shape.kv_width() * capacity, "keys are [kv_heads, capacity, head_dim]");
        assert_eq!(values.len(), keys.len(), "values are as many as keys");
        Self { keys, values, len, capacity }
    }
}

/// Attends from one query row to the keys `visible`, counted from the first position of the first
/// segment. `scores` is scratch of at least `visible.len()`.
///
/// # Panics
/// If the widths do not fit `shape`, nothing is visible, or `visible` ends past the segments.
pub fn attend<T: Element>(
    level: Level,
    shape: AttentionShape,
    query: &[f32],
    segments: &[KvSegment<'_, T>],
    visible: Range<usize>,
    scores: &mut [f32],
    out: &mut [f32],
) {
    assert_eq!(query.len(), shape.query_width(), "the query row is as wide as all heads");
    assert_eq!(out.len(), query.len(), "the output row is as wide as the query row");
    assert!(shape.kv_heads > 0 && shape.heads.is_multiple_of(shape.kv_heads), "K/V heads divide the heads");
    assert!(!visible.is_empty(), "a query sees at least itself");
    let n_positions: usize = segments.iter().map(|segment| segment.len).sum();
    assert!(visible.end <= n_positions, "visible keys end past the cache");
    let scores = &mut scores[..visible.len()];
    level.run(Attend { shape, query, segments, visible, scores, out });
}

struct Attend<'a, T> {
    shape: AttentionShape,
    query: &'a [f32],
    segments: &'a [KvSegment<'a, T>],
    visible: Range<usize>,
    scores: &'a mut [f32],
    out: &'a mut [f32],
}

/// The parts of `segments` that lie in `visible`: `(segment, positions within it)`.
#[inline(always)]
fn parts<'a, T>(
    segments: &'a [KvSegment<'a, T>],
    visible: &Range<usize>,
) -> impl Iterator<Item = (&'a KvSegment<'a, T>, Range<usize>)> {
    let visible = visible.clone();
    let mut first = 0;
    segments.iter().map(move |segment| {
        let start = first;
        first += segment.len;
        let clamp = |position: usize| position.clamp(start, start + segment.len) - start;
        (segment, clamp(visible.start)..clamp(visible.end))
    })
}

impl<T: Element> SimdOp for Attend<'_, T> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(mut self, s: S) {
        let AttentionShape { heads, kv_heads, head_dim } = self.shape;
        let output = std::mem::take(&mut self.out);
        let scale = 1.0 / (head_dim as f32).sqrt();
        for head in 0..heads {
            let kv_head = head / (heads / kv_heads);
            let query = &self.query[head * head_dim..][..head_dim];
            let mut n = 0;
            for (segment, positions) in parts(self.segments, &self.visible) {
                let keys = &segment.keys[kv_head * segment.capacity * head_dim..];
                let keys = &keys[positions.start * head_dim..positions.end * head_dim];
                for key in keys.chunks_exact(head_dim) {
                    self.scores[n] = dot(s, query, key) * scale;
                    n += 1;
                }
            }
            softmax::softmax_row(s, self.scores);
            let out = &mut output[head * head_dim..][..head_dim];
            let mut column = 0;
            // Up to eight vectors of the output row stay in registers while the keys pass.
            while head_dim - column >= 8 * S::LANES {
                self.mix::<S, 8>(s, kv_head, column, out);
                column += 8 * S::LANES;
            }
            while head_dim - column >= 4 * S::LANES {
                self.mix::<S, 4>(s, kv_head, column, out);
                column += 4 * S::LANES;
            }
            while head_dim - column >= S::LANES {
                self.mix::<S, 1>(s, kv_head, column, out);
                column += S::LANES;
            }
            for column in column..head_dim {
                let mut n = 0;
                out[column] = 0.0;
                for (segment, positions) in parts(self.segments, &self.visible) {
                    for position in positions {
                        let value = segment.values[(kv_head * segment.capacity + position) * head_dim + column];
                        out[column] += self.scores[n] * value.to_f32();
                        n += 1;
                    }
                }
            }
        }
    }

    fn eval_scalar(self) {
        let AttentionShape { heads, kv_heads, head_dim } = self.shape;
        let scale = 1.0 / (head_dim as f32).sqrt();
        for head in 0..heads {
            let kv_head = head / (heads / kv_heads);
            let query = &self.query[head * head_dim..][..head_dim];
            let mut n = 0;
            for (segment, positions) in parts(self.segments, &self.visible) {
                for position in positions {
                    let key = &segment.keys[(kv_head * segment.capacity + position) * head_dim..][..head_dim];
                    self.scores[n] = query.iter().zip(key).map(|(q, k)| q * k.to_f32()).sum::<f32>() * scale;
                    n += 1;
                }
            }
            softmax::scalar(self.scores);
            let out = &mut self.out[head * head_dim..][..head_dim];
            out.fill(0.0);
            let mut n = 0;
            for (segment, positions) in parts(self.segments, &self.visible) {
                for position in positions {
                    let value = &segment.values[(kv_head * segment.capacity + position) * head_dim..][..head_dim];
                    for (out, value) in out.iter_mut().zip(value) {
                        *out += self.scores[n] * value.to_f32();
                    }
                    n += 1;
                }
            }
        }
    }
}

impl<T: Element> Attend<'_, T> {
    /// Writes N vectors of the output, from `column` on: the sum of values weighted by the scores.
    #[inline(always)]
    fn mix<S: Simd, const N: usize>(&self, s: S, kv_head: usize, column: usize, out: &mut [f32]) {
        let head_dim = self.shape.head_dim;
        let mut acc = [s.zero(); N];
        let mut n = 0;
        for (segment, positions) in parts(self.segments, &self.visible) {
            let values = &segment.values[kv_head * segment.capacity * head_dim..];
            let values = &values[positions.start * head_dim..positions.end * head_dim];
            for value in values.chunks_exact(head_dim) {
                let value = &value[column..column + N * S::LANES];
                let weight = s.splat(self.scores[n]);
                for i in 0..N {
                    // SAFETY: `value` holds N * LANES elements.
                    let v = unsafe { T::load(s, value.as_ptr().add(i * S::LANES)) };
                    acc[i] = s.mul_add(weight, v, acc[i]);
                }
                n += 1;
            }
        }
        for i in 0..N {
            s.store(acc[i], &mut out[column + i * S::LANES..]);
        }
    }
}

#[inline(always)]
fn dot<S: Simd, T: Element>(s: S, query: &[f32], key: &[T]) -> f32 {
    let n = query.len().min(key.len());
    let (mut even, mut odd) = (s.zero(), s.zero());
    let mut i = 0;
    while i + 2 * S::LANES <= n {
        // SAFETY: `key` holds at least i + 2 * LANES elements.
        let (k0, k1) = unsafe { (T::load(s, key.as_ptr().add(i)), T::load(s, key.as_ptr().add(i + S::LANES))) };
        even = s.mul_add(s.load(&query[i..]), k0, even);
        odd = s.mul_add(s.load(&query[i + S::LANES..]), k1, odd);
        i += 2 * S::LANES;
    }
    if i + S::LANES <= n {
        // SAFETY: `key` holds at least i + LANES elements.
        let k = unsafe { T::load(s, key.as_ptr().add(i)) };
        even = s.mul_add(s.load(&query[i..]), k, even);
        i += S::LANES;
    }
    let mut sum = s.reduce_add(s.add(even, odd));
    for i in i..n {
        sum += query[i] * key[i].to_f32();
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::Bf16;
    use crate::testing::{Rng, for_each_level, relative_l2, uniform};

    /// Dot products, softmax and weighted sums in another order.
    const MAX_ERROR: f64 = 3e-6;

    fn run<T: Element>(
        level: Level,
        shape: AttentionShape,
        query: &[f32],
        segments: &[KvSegment<'_, T>],
        visible: Range<usize>,
    ) -> Vec<f32> {
        let mut out = vec![0.0; query.len()];
        let mut scores = vec![0.0; visible.len() + 3];
        attend(level, shape, query, segments, visible, &mut scores, &mut out);
        out
    }

    #[test]
    fn attention_matches_the_scalar_specification() {
        for_each_level(|level| {
            let mut rng = Rng::new(1);
            for head_dim in [2, 6, 8, 16, 30, 32, 40, 64, 72, 128, 200] {
                for (heads, kv_heads) in [(1, 1), (3, 1), (4, 2), (5, 5)] {
                    let shape = AttentionShape { heads, kv_heads, head_dim };
                    let len = 1 + rng.below(40);
                    let capacity = len + rng.below(5);
                    let keys = uniform(2, kv_heads * capacity * head_dim, -1.0, 1.0);
                    let values = uniform(3, keys.len(), -1.0, 1.0);
                    let query = uniform(4, heads * head_dim, -2.0, 2.0);
                    let segment = [KvSegment::new(shape, &keys, &values, len, capacity)];
                    let first = rng.below(len);
                    for visible in [0..len, first..len, first..first + 1] {
                        let got = run(level, shape, &query, &segment, visible.clone());
                        let want = run(Level::Scalar, shape, &query, &segment, visible.clone());
                        let error = relative_l2(&got, &want);
                        assert!(error <= MAX_ERROR, "{level:?} {shape:?} {visible:?}: {error:e}");
                    }
                    let round = |x: &[f32]| x.iter().map(|&x| Bf16::from_f32(x)).collect::<Vec<_>>();
                    let (keys, values) = (round(&keys), round(&values));
                    let segment = [KvSegment::new(shape, &keys, &values, len, capacity)];
                    let got = run(level, shape, &query, &segment, 0..len);
                    let want = run(Level::Scalar, shape, &query, &segment, 0..len);
                    assert!(relative_l2(&got, &want) <= MAX_ERROR, "{level:?} {shape:?} bf16");
                }
            }
        });
    }

    #[test]
    fn segmentation_does_not_change_a_bit() {
        for_each_level(|level| {
            let shape = AttentionShape { heads: 4, kv_heads: 2, head_dim: 24 };
            let len = 37;
            let keys = uniform(2, shape.kv_width() * len, -1.0, 1.0);
            let values = uniform(3, keys.len(), -1.0, 1.0);
            let query = uniform(4, shape.query_width(), -2.0, 2.0);
            let whole = run(level, shape, &query, &[KvSegment::new(shape, &keys, &values, len, len)], 5..len);
            for cut in [0, 1, 5, 20, 36, 37] {
                let part = |x: &[f32], range: Range<usize>| -> Vec<f32> {
                    x.chunks(len * shape.head_dim)
                        .flat_map(|head| head[range.start * 24..range.end * 24].to_vec())
                        .collect()
                };
                let (k0, v0) = (part(&keys, 0..cut), part(&values, 0..cut));
                let (k1, v1) = (part(&keys, cut..len), part(&values, cut..len));
                let segments =
                    [KvSegment::new(shape, &k0, &v0, cut, cut), KvSegment::new(shape, &k1, &v1, len - cut, len - cut)];
                assert!(run(level, shape, &query, &segments, 5..len) == whole, "{level:?} cut at {cut}");
            }
        });
    }

    #[test]
    fn equal_keys_average_the_values() {
        let shape = AttentionShape { heads: 1, kv_heads: 1, head_dim: 2 };
        let segment = [KvSegment::new(shape, &[1.0; 4], &[1.0, 2.0, 3.0, 6.0], 2, 2)];
        assert_eq!(run(Level::Scalar, shape, &[0.3, 0.4], &segment, 0..2), [2.0, 4.0]);
        assert_eq!(run(Level::Scalar, shape, &[0.3, 0.4], &segment, 1..2), [3.0, 6.0]);
    }
}
