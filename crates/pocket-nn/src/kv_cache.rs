//! The keys and values of one attention layer of one stream: a shared prefix and an own tail.

use std::sync::Arc;

use pocket_kernels::attention::{AttentionShape, KvSegment};
use pocket_kernels::element::Element;

/// Keys and values of consecutive positions, `[kv_heads, capacity, head_dim]` each.
#[derive(Clone, Debug)]
pub struct KvBlock<T = f32> {
    shape: AttentionShape,
    keys: Vec<T>,
    values: Vec<T>,
    len: usize,
    capacity: usize,
}

impl<T: Element> KvBlock<T> {
    /// A block without positions.
    #[must_use]
    pub fn new(shape: AttentionShape) -> Self {
        Self { shape, keys: Vec::new(), values: Vec::new(), len: 0, capacity: 0 }
    }

    /// A block of key and value rows, `[positions, kv_heads, head_dim]` each.
    ///
    /// # Panics
    /// If the two differ in length or are not whole rows.
    #[must_use]
    pub fn from_rows(shape: AttentionShape, keys: &[f32], values: &[f32]) -> Self {
        let width = shape.kv_width();
        assert!(keys.len() == values.len() && keys.len().is_multiple_of(width), "keys and values are whole rows");
        let mut block = Self::new(shape);
        block.reserve_exact(keys.len() / width);
        for (key, value) in keys.chunks_exact(width).zip(values.chunks_exact(width)) {
            block.push(key, value);
        }
        block
    }

    /// Head layout.
    #[must_use]
    pub fn shape(&self) -> AttentionShape {
        self.shape
    }

    /// Number of positions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no position.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn segment(&self) -> KvSegment<'_, T> {
        KvSegment::new(self.shape, &self.keys, &self.values, self.len, self.capacity)
    }

    /// Makes room for `capacity` positions.
    pub fn reserve_exact(&mut self, capacity: usize) {
        if capacity <= self.capacity {
            return;
        }
        let head_dim = self.shape.head_dim;
        for buffer in [&mut self.keys, &mut self.values] {
            let mut grown = vec![T::default(); self.shape.kv_width() * capacity];
            for head in 0..self.shape.kv_heads {
                let from = &buffer[head * self.capacity * head_dim..][..self.len * head_dim];
                grown[head * capacity * head_dim..][..from.len()].copy_from_slice(from);
            }
            *buffer = grown;
        }
        self.capacity = capacity;
    }

    /// Appends one position: its key and value rows, `[kv_heads * head_dim]` each.
    ///
    /// # Panics
    /// If a row is not as wide as all heads.
    pub fn push(&mut self, key: &[f32], value: &[f32]) {
        let (width, head_dim) = (self.shape.kv_width(), self.shape.head_dim);
        assert!(key.len() == width && value.len() == width, "a key is as wide as all K/V heads");
        if self.len == self.capacity {
            self.reserve_exact((self.capacity * 2).max(16));
        }
        for (buffer, row) in [(&mut self.keys, key), (&mut self.values, value)] {
            for (head, row) in row.chunks_exact(head_dim).enumerate() {
                let at = (head * self.capacity + self.len) * head_dim;
                for (stored, &x) in buffer[at..at + head_dim].iter_mut().zip(row) {
                    *stored = T::from_f32(x);
                }
            }
        }
        self.len += 1;
    }

    /// Forgets the first `n` positions.
    fn drop_front(&mut self, n: usize) {
        let head_dim = self.shape.head_dim;
        for buffer in [&mut self.keys, &mut self.values] {
            for head in 0..self.shape.kv_heads {
                let start = head * self.capacity * head_dim;
                buffer.copy_within(start + n * head_dim..start + self.len * head_dim, start);
            }
        }
        self.len -= n;
    }

    /// The key and value rows of `position` in f32, `[kv_heads * head_dim]` each.
    ///
    /// # Panics
    /// If there is no such position.
    #[must_use]
    pub fn row(&self, position: usize) -> (Vec<f32>, Vec<f32>) {
        assert!(position < self.len, "no such position");
        let gather = |buffer: &[T]| {
            let head_dim = self.shape.head_dim;
            (0..self.shape.kv_heads)
                .flat_map(|head| &buffer[(head * self.capacity + position) * head_dim..][..head_dim])
                .map(|x| x.to_f32())
                .collect()
        };
        (gather(&self.keys), gather(&self.values))
    }

    /// Bytes that the block holds.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        size_of_val(&self.keys[..]) + size_of_val(&self.values[..])
    }
}

/// The K/V cache of one layer: a prefix shared read-only between streams, then the stream's own tail.
///
/// With a `context` only that many latest positions stay: a position sees itself and the
/// `context - 1` before it.
#[derive(Clone, Debug)]
pub struct KvCache<T = f32> {
    prefix: Option<Arc<KvBlock<T>>>,
    tail: KvBlock<T>,
    context: Option<usize>,
    /// Absolute index of the first position held.
    first: usize,
    /// Leading positions that are padding: never seen.
    pad: usize,
}

impl<T: Element> KvCache<T> {
    /// A cache without positions.
    #[must_use]
    pub fn new(shape: AttentionShape, context: Option<usize>) -> Self {
        Self { prefix: None, tail: KvBlock::new(shape), context, first: 0, pad: 0 }
    }

    /// A cache that starts with the positions of `prefix`, the first `pad` of which are never seen.
    #[must_use]
    pub fn with_prefix(prefix: Arc<KvBlock<T>>, pad: usize) -> Self {
        let tail = KvBlock::new(prefix.shape);
        Self { prefix: Some(prefix), tail, context: None, first: 0, pad }
    }

    /// The absolute index of the next position.
    #[must_use]
    pub fn next_position(&self) -> usize {
        self.first + self.prefix_len() + self.tail.len()
    }

    /// Leading positions that are never seen.
    #[must_use]
    pub fn pad(&self) -> usize {
        self.pad
    }

    fn prefix_len(&self) -> usize {
        self.prefix.as_ref().map_or(0, |prefix| prefix.len())
    }

    /// Makes room for `n` more positions; with a context forgets what none of them will see.
    pub fn reserve(&mut self, n: usize) {
        let needed = self.tail.len() + n;
        if needed <= self.tail.capacity {
            return;
        }
        if let Some(context) = self.context {
            // The prefix of a windowed cache is always empty.
            let surplus = self.tail.len().saturating_sub(context - 1);
            self.tail.drop_front(surplus);
            self.first += surplus;
            // Room for as much again, up to a window, so that moving it is rare.
            let needed = self.tail.len() + n;
            if needed > self.tail.capacity {
                self.tail.reserve_exact(needed + needed.min(context));
            }
        } else {
            self.tail.reserve_exact(needed.max(self.tail.capacity * 2));
        }
    }

    /// Appends one position.
    ///
    /// # Panics
    /// If a row is not as wide as all heads.
    pub fn push(&mut self, key: &[f32], value: &[f32]) {
        self.tail.push(key, value);
    }

    /// The segments to attend over.
    #[must_use]
    pub fn segments(&self) -> [KvSegment<'_, T>; 2] {
        let tail = self.tail.segment();
        match &self.prefix {
            Some(prefix) => [prefix.segment(), tail],
            None => [tail, KvSegment::new(self.tail.shape, &[], &[], 0, 0)],
        }
    }

    /// What the query at absolute `position` sees, counted from the first position held.
    #[must_use]
    pub fn visible(&self, position: usize) -> std::ops::Range<usize> {
        let window = self.context.map_or(0, |context| (position + 1).saturating_sub(context));
        // A query among the padding would see nothing; it sees itself.
        let first = window.max(self.pad).min(position);
        first - self.first..position + 1 - self.first
    }

    /// All positions as one block to share: the prefix itself if the stream added nothing.
    #[must_use]
    pub fn freeze(&self) -> Arc<KvBlock<T>> {
        match &self.prefix {
            Some(prefix) if self.tail.is_empty() => Arc::clone(prefix),
            prefix => {
                let mut block = KvBlock::new(self.tail.shape);
                let parts = prefix.as_deref().into_iter().chain([&self.tail]);
                block.reserve_exact(parts.clone().map(KvBlock::len).sum());
                for part in parts {
                    for position in 0..part.len() {
                        let (key, value) = part.row(position);
                        block.push(&key, &value);
                    }
                }
                Arc::new(block)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: AttentionShape = AttentionShape { heads: 2, kv_heads: 2, head_dim: 2 };

    fn row(position: usize) -> [f32; 4] {
        [0.0, 1.0, 2.0, 3.0].map(|x| x + 10.0 * position as f32)
    }

    fn extend(cache: &mut KvCache, positions: std::ops::Range<usize>) {
        cache.reserve(positions.len());
        for position in positions {
            cache.push(&row(position), &row(position).map(|x| -x));
        }
    }

    #[test]
    fn blocks_keep_their_rows_while_growing() {
        let mut block = KvBlock::<f32>::new(SHAPE);
        for position in 0..40 {
            block.push(&row(position), &row(position + 1));
        }
        for position in 0..40 {
            assert_eq!(block.row(position), (row(position).to_vec(), row(position + 1).to_vec()));
        }
    }

    #[test]
    fn a_window_forgets_only_what_nobody_sees() {
        let mut cache = KvCache::new(SHAPE, Some(5));
        let mut position = 0;
        for n in [1, 3, 16, 2, 7, 1, 30, 4, 5, 5, 5, 5] {
            extend(&mut cache, position..position + n);
            for query in position..position + n {
                let visible = cache.visible(query);
                assert_eq!(visible.len(), (query + 1).min(5));
                for (at, absolute) in visible.clone().zip(query + 1 - visible.len()..) {
                    assert_eq!(cache.tail.row(at).0, row(absolute), "query {query}");
                }
            }
            position += n;
            assert_eq!(cache.next_position(), position);
        }
        assert!(cache.tail.capacity < 100, "the window grew to {}", cache.tail.capacity);
    }

    #[test]
    fn prefixes_are_shared_and_frozen_with_the_tail() {
        let mut voice = KvCache::new(SHAPE, None);
        extend(&mut voice, 0..3);
        let prefix = voice.freeze();
        let mut stream = KvCache::with_prefix(Arc::clone(&prefix), 1);
        assert!(Arc::ptr_eq(&stream.freeze(), &prefix));
        extend(&mut stream, 3..5);
        assert_eq!(stream.visible(4), 1..5);
        assert_eq!(stream.visible(0), 0..1);
        let frozen = stream.freeze();
        assert_eq!(frozen.len(), 5);
        assert_eq!(prefix.len(), 3);
        for position in 0..5 {
            assert_eq!(frozen.row(position).0, row(position));
        }
    }
}
