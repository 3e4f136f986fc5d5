use std::slice::from_ref;

use super::*;
use crate::testing::{Rng, for_each_level, relative_l2, uniform};

/// Dot products, softmax and weighted sums in another order.
const MAX_ERROR: f64 = 3e-6;

/// Keys and values as segments hold them; what lies past the end is a number that must not matter.
struct Block<T> {
    shape: AttentionShape,
    keys: Vec<T>,
    values: Vec<T>,
    len: usize,
    capacity: usize,
}

impl<T: Element> Block<T> {
    /// The positions `range` of `keys` and `values` `[kv_heads, len, head_dim]`.
    fn new(shape: AttentionShape, keys: &[f32], values: &[f32], range: Range<usize>) -> Self {
        let AttentionShape { kv_heads, head_dim, .. } = shape;
        let n = keys.len() / (kv_heads * head_dim);
        let capacity = (range.len() + 3).next_multiple_of(KEY_PANEL);
        let garbage = || vec![T::from_f32(77.0); shape.kv_width() * capacity];
        let mut block = Self { shape, keys: garbage(), values: garbage(), len: range.len(), capacity };
        for head in 0..kv_heads {
            for (at, position) in range.clone().enumerate() {
                for dim in 0..head_dim {
                    let from = (head * n + position) * head_dim + dim;
                    block.keys[shape.key_index(capacity, head, at, dim)] = T::from_f32(keys[from]);
                    block.values[(head * capacity + at) * head_dim + dim] = T::from_f32(values[from]);
                }
            }
        }
        block
    }
}

impl Block<f32> {
    fn segment(&self) -> KvSegment<'_> {
        KvSegment::new(self.shape, KvSlices::F32(&self.keys, &self.values), self.len, self.capacity)
    }
}

impl Block<Bf16> {
    fn segment(&self) -> KvSegment<'_> {
        KvSegment::new(self.shape, KvSlices::Bf16(&self.keys, &self.values), self.len, self.capacity)
    }
}

fn run(
    (level, pool): (Level, &Pool),
    shape: AttentionShape,
    queries: &[f32],
    segments: &[KvSegment<'_>],
    visible: &[Range<usize>],
) -> Vec<f32> {
    let stride = queries.len() / visible.len();
    let queries = Queries::new(queries, stride, shape.query_width());
    let mut out = vec![f32::NAN; visible.len() * shape.query_width()];
    let union = visible[visible.len() - 1].end - visible[0].start;
    let mut scratch = vec![f32::NAN; scratch_len(shape, visible.len(), union)];
    attend(level, pool, shape, queries, segments, &|row| visible[row].clone(), &mut scratch, &mut out);
    out
}

#[test]
fn attention_matches_the_scalar_specification() {
    let pool = Pool::default();
    for_each_level(|level| {
        let mut rng = Rng::new(1);
        for head_dim in [2, 6, 8, 16, 30, 32, 40, 64, 72, 128, 200] {
            for (heads, kv_heads) in [(1, 1), (3, 1), (4, 2), (5, 5)] {
                let shape = AttentionShape { heads, kv_heads, head_dim };
                let len = 1 + rng.below(200);
                let n_rows = 1 + rng.below(20);
                let keys = uniform(2, kv_heads * len * head_dim, -1.0, 1.0);
                let values = uniform(3, keys.len(), -1.0, 1.0);
                let stride = shape.query_width() + rng.below(5);
                let queries = uniform(4, n_rows * stride, -2.0, 2.0);
                let first = rng.below(len);
                let width = rng.below(len - first);
                // All see everything; a window that moves on; one position each; the end, seen by degrees.
                let cases: [&dyn Fn(usize) -> Range<usize>; 4] = [
                    &|_| 0..len,
                    &|row| (first + row).min(len - 1)..(first + row + width + 1).min(len),
                    &|row| (first + row).min(len - 1)..(first + row + 1).min(len),
                    &|row| first..(first + 1 + row).min(len),
                ];
                for visible in cases {
                    let visible: Vec<_> = (0..n_rows).map(visible).collect();
                    let block = Block::<f32>::new(shape, &keys, &values, 0..len);
                    let half = Block::<Bf16>::new(shape, &keys, &values, 0..len);
                    for segment in [block.segment(), half.segment()] {
                        let got = run((level, &pool), shape, &queries, &[segment], &visible);
                        let want = run((Level::Scalar, &pool), shape, &queries, &[segment], &visible);
                        let error = relative_l2(&got, &want);
                        assert!(error <= MAX_ERROR, "{level:?} {shape:?} {visible:?}: {error:e}");
                    }
                }
            }
        }
    });
}

#[test]
fn rows_segments_and_threads_do_not_change_a_bit() {
    let (serial, shared) = (Pool::default(), Pool::new(2));
    for_each_level(|level| {
        for (head_dim, context) in [(24, 30), (64, 500)] {
            let shape = AttentionShape { heads: 4, kv_heads: 2, head_dim };
            let (len, n_rows) = (437, 130);
            let keys = uniform(2, shape.kv_width() * len, -1.0, 1.0);
            let values = uniform(3, keys.len(), -1.0, 1.0);
            let queries = uniform(4, n_rows * shape.query_width(), -2.0, 2.0);
            let visible: Vec<_> =
                (len - n_rows..len).map(|last| (last + 1).saturating_sub(context)..last + 1).collect();
            let block = Block::<f32>::new(shape, &keys, &values, 0..len);
            let whole = run((level, &serial), shape, &queries, &[block.segment()], &visible);
            for cut in [0, 1, 65, 300, 320, 400, 437] {
                let parts = [0..cut, cut..len].map(|range| Block::<f32>::new(shape, &keys, &values, range));
                let segments = [parts[0].segment(), parts[1].segment()];
                for pool in [&serial, &shared] {
                    let got = run((level, pool), shape, &queries, &segments, &visible);
                    assert!(got == whole, "{level:?} {shape:?} cut at {cut}, {} threads", pool.n_threads());
                }
            }
            let rows = queries.chunks(shape.query_width()).zip(whole.chunks(shape.query_width())).zip(&visible);
            for (row, ((query, want), visible)) in rows.enumerate() {
                let got = run((level, &serial), shape, query, &[block.segment()], from_ref(visible));
                assert!(got == want, "{level:?} {shape:?} row {row} alone differs");
            }
        }
    });
}

#[test]
fn segments_may_be_of_different_types() {
    let shape = AttentionShape { heads: 2, kv_heads: 1, head_dim: 16 };
    let keys = uniform(2, 90 * 16, -1.0, 1.0);
    let values = uniform(3, keys.len(), -1.0, 1.0);
    let queries = uniform(4, shape.query_width(), -2.0, 2.0);
    let first = Block::<f32>::new(shape, &keys, &values, 0..70);
    let second = Block::<Bf16>::new(shape, &keys, &values, 70..90);
    let pool = Pool::default();
    for_each_level(|level| {
        let segments = [first.segment(), second.segment()];
        let got = run((level, &pool), shape, &queries, &segments, from_ref(&(3..90)));
        let want = run((Level::Scalar, &pool), shape, &queries, &segments, from_ref(&(3..90)));
        assert!(relative_l2(&got, &want) <= MAX_ERROR, "{level:?}");
    });
}

#[test]
fn equal_keys_average_the_values() {
    let shape = AttentionShape { heads: 1, kv_heads: 1, head_dim: 2 };
    let block = Block::<f32>::new(shape, &[1.0; 4], &[1.0, 2.0, 3.0, 6.0], 0..2);
    let scalar = (Level::Scalar, &Pool::default());
    assert_eq!(run(scalar, shape, &[0.3, 0.4], &[block.segment()], from_ref(&(0..2))), [2.0, 4.0]);
    assert_eq!(run(scalar, shape, &[0.3, 0.4], &[block.segment()], from_ref(&(1..2))), [3.0, 6.0]);
}
