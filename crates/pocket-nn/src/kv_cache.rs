//! The keys and values of one attention layer of one stream: a shared prefix and an own tail.

use std::sync::Arc;

use pocket_kernels::attention::{AttentionShape, KEY_PANEL, KvSegment, KvSlices};
use pocket_kernels::element::{Bf16, Element, zeroed};

/// The type that keys and values are kept in; attention computes in f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvDType {
    /// 32-bit floats.
    #[default]
    F32,
    /// bfloat16, rounded to nearest, ties to even.
    Bf16,
}

/// Keys and values of one element type.
#[derive(Clone, Debug)]
struct Buffers<T> {
    keys: Vec<T>,
    values: Vec<T>,
}

#[derive(Clone, Debug)]
enum KvData {
    F32(Buffers<f32>),
    Bf16(Buffers<Bf16>),
}

/// Calls `$each` with the buffers of either type.
macro_rules! with_buffers {
    ($data:expr, $buffers:ident => $each:expr) => {
        match $data {
            KvData::F32($buffers) => $each,
            KvData::Bf16($buffers) => $each,
        }
    };
}

impl<T: Element> Buffers<T> {
    const EMPTY: Self = Self { keys: Vec::new(), values: Vec::new() };

    /// Moves the first `len` positions to buffers of another capacity.
    fn grow(&mut self, shape: AttentionShape, len: usize, capacity: usize, new_capacity: usize) {
        let head_dim = shape.head_dim;
        // Keys move by whole panels.
        for (buffer, len) in [(&mut self.keys, len.next_multiple_of(KEY_PANEL)), (&mut self.values, len)] {
            let mut grown = zeroed(shape.kv_width() * new_capacity);
            for head in 0..shape.kv_heads {
                let from = &buffer[head * capacity * head_dim..][..len * head_dim];
                grown[head * new_capacity * head_dim..][..from.len()].copy_from_slice(from);
            }
            *buffer = grown;
        }
    }

    fn write(&mut self, shape: AttentionShape, capacity: usize, position: usize, key: &[f32], value: &[f32]) {
        let head_dim = shape.head_dim;
        for head in 0..shape.kv_heads {
            let row = head * head_dim..(head + 1) * head_dim;
            let first = shape.key_index(capacity, head, position, 0);
            for (stored, &x) in self.keys[first..].iter_mut().step_by(KEY_PANEL).zip(&key[row.clone()]) {
                *stored = T::from_f32(x);
            }
            let first = (head * capacity + position) * head_dim;
            for (stored, &x) in self.values[first..].iter_mut().zip(&value[row]) {
                *stored = T::from_f32(x);
            }
        }
    }

    fn row(&self, shape: AttentionShape, capacity: usize, position: usize) -> (Vec<f32>, Vec<f32>) {
        let at = (0..shape.kv_heads).flat_map(|head| (0..shape.head_dim).map(move |dim| (head, dim)));
        let key = |(head, dim)| self.keys[shape.key_index(capacity, head, position, dim)].to_f32();
        let value =
            |(head, dim): (usize, usize)| self.values[(head * capacity + position) * shape.head_dim + dim].to_f32();
        (at.clone().map(key).collect(), at.map(value).collect())
    }

    /// Forgets the first `n` of `len` positions, whole panels.
    fn drop_front(&mut self, shape: AttentionShape, capacity: usize, len: usize, n: usize) {
        let head_dim = shape.head_dim;
        for (buffer, len) in [(&mut self.keys, len.next_multiple_of(KEY_PANEL)), (&mut self.values, len)] {
            for head in 0..shape.kv_heads {
                let start = head * capacity * head_dim;
                buffer.copy_within(start + n * head_dim..start + len * head_dim, start);
            }
        }
    }

    fn n_bytes(&self) -> usize {
        size_of_val(&self.keys[..]) + size_of_val(&self.values[..])
    }
}

/// Keys and values of consecutive positions, laid out as [`KvSegment`] says.
#[derive(Clone, Debug)]
pub struct KvBlock {
    shape: AttentionShape,
    data: KvData,
    len: usize,
    capacity: usize,
}

impl KvBlock {
    /// A block without positions.
    #[must_use]
    pub fn new(shape: AttentionShape, dtype: KvDType) -> Self {
        let data = match dtype {
            KvDType::F32 => KvData::F32(Buffers::EMPTY),
            KvDType::Bf16 => KvData::Bf16(Buffers::EMPTY),
        };
        Self { shape, data, len: 0, capacity: 0 }
    }

    /// A block of key and value rows, `[positions, kv_heads, head_dim]` each.
    ///
    /// # Panics
    /// If the two differ in length or are not whole rows.
    #[must_use]
    pub fn from_rows(shape: AttentionShape, dtype: KvDType, keys: &[f32], values: &[f32]) -> Self {
        let width = shape.kv_width();
        assert!(keys.len() == values.len() && keys.len().is_multiple_of(width), "keys and values are whole rows");
        let mut block = Self::new(shape, dtype);
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

    /// The type of the elements.
    #[must_use]
    pub fn dtype(&self) -> KvDType {
        match self.data {
            KvData::F32(_) => KvDType::F32,
            KvData::Bf16(_) => KvDType::Bf16,
        }
    }

    /// The same positions in another type.
    #[must_use]
    pub fn to_dtype(&self, dtype: KvDType) -> Self {
        let mut block = Self::new(self.shape, dtype);
        block.reserve_exact(self.len);
        block.extend(self);
        block
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

    fn segment(&self) -> KvSegment<'_> {
        let data = match &self.data {
            KvData::F32(buffers) => KvSlices::F32(&buffers.keys, &buffers.values),
            KvData::Bf16(buffers) => KvSlices::Bf16(&buffers.keys, &buffers.values),
        };
        KvSegment::new(self.shape, data, self.len, self.capacity)
    }

    /// Makes room for `capacity` positions.
    pub fn reserve_exact(&mut self, capacity: usize) {
        if capacity <= self.capacity {
            return;
        }
        let capacity = capacity.next_multiple_of(KEY_PANEL);
        with_buffers!(&mut self.data, buffers => buffers.grow(self.shape, self.len, self.capacity, capacity));
        self.capacity = capacity;
    }

    /// Appends one position: key and value rows of `[kv_heads * head_dim]`.
    ///
    /// # Panics
    /// If a row is not as wide as all heads.
    pub fn push(&mut self, key: &[f32], value: &[f32]) {
        let width = self.shape.kv_width();
        assert!(key.len() == width && value.len() == width, "a key is as wide as all K/V heads");
        if self.len == self.capacity {
            self.reserve_exact(self.capacity * 2 + 1);
        }
        with_buffers!(&mut self.data, buffers => buffers.write(self.shape, self.capacity, self.len, key, value));
        self.len += 1;
    }

    /// Appends all positions of another block.
    fn extend(&mut self, other: &Self) {
        for position in 0..other.len() {
            let (key, value) = other.row(position);
            self.push(&key, &value);
        }
    }

    /// Forgets the first `n` positions, whole panels.
    fn drop_front(&mut self, n: usize) {
        with_buffers!(&mut self.data, buffers => buffers.drop_front(self.shape, self.capacity, self.len, n));
        self.len -= n;
    }

    /// The key and value rows of `position` in f32, `[kv_heads * head_dim]` each.
    ///
    /// # Panics
    /// If there is no such position.
    #[must_use]
    pub fn row(&self, position: usize) -> (Vec<f32>, Vec<f32>) {
        assert!(position < self.len, "no such position");
        with_buffers!(&self.data, buffers => buffers.row(self.shape, self.capacity, position))
    }

    /// Bytes that the block holds.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        with_buffers!(&self.data, buffers => buffers.n_bytes())
    }
}

/// The K/V cache of one layer: a prefix shared read-only between streams, then the stream's own tail.
///
/// With a `context` only that many latest positions stay: a position sees itself and the
/// `context - 1` before it.
#[derive(Clone, Debug)]
pub struct KvCache {
    prefix: Option<Arc<KvBlock>>,
    tail: KvBlock,
    context: Option<usize>,
    /// Absolute index of the first position held.
    first: usize,
    /// Leading positions that are padding: never seen.
    pad: usize,
}

impl KvCache {
    /// A cache without positions.
    #[must_use]
    pub fn new(shape: AttentionShape, dtype: KvDType, context: Option<usize>) -> Self {
        Self { prefix: None, tail: KvBlock::new(shape, dtype), context, first: 0, pad: 0 }
    }

    /// A cache that starts with the positions of `prefix`, the first `pad` of which are never seen, and keeps
    /// what follows as `dtype`.
    #[must_use]
    pub fn with_prefix(prefix: Arc<KvBlock>, pad: usize, dtype: KvDType) -> Self {
        let tail = KvBlock::new(prefix.shape, dtype);
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
            let surplus = self.tail.len().saturating_sub(context - 1) / KEY_PANEL * KEY_PANEL;
            self.tail.drop_front(surplus);
            self.first += surplus;
            // Room for as many calls as make a window, so that moving it is rare and it never grows again.
            let needed = self.tail.len() + n;
            if needed > self.tail.capacity {
                self.tail.reserve_exact(2 * (context + n + KEY_PANEL));
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

    /// Positions that there is room for without allocating.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.prefix_len() + self.tail.capacity
    }

    /// The segments to attend over.
    #[must_use]
    pub fn segments(&self) -> [KvSegment<'_>; 2] {
        let tail = self.tail.segment();
        match &self.prefix {
            Some(prefix) => [prefix.segment(), tail],
            None => [tail, KvSegment::new(self.tail.shape, KvSlices::F32(&[], &[]), 0, 0)],
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
    pub fn freeze(&self) -> Arc<KvBlock> {
        match &self.prefix {
            Some(prefix) if self.tail.is_empty() => Arc::clone(prefix),
            prefix => {
                let mut block = KvBlock::new(self.tail.shape, self.tail.dtype());
                let parts = prefix.as_deref().into_iter().chain([&self.tail]);
                block.reserve_exact(parts.clone().map(KvBlock::len).sum());
                parts.for_each(|part| block.extend(part));
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
        let mut block = KvBlock::new(SHAPE, KvDType::F32);
        for position in 0..140 {
            block.push(&row(position), &row(position + 1));
        }
        for position in 0..140 {
            assert_eq!(block.row(position), (row(position).to_vec(), row(position + 1).to_vec()));
        }
    }

    #[test]
    fn a_window_forgets_only_what_nobody_sees() {
        let mut cache = KvCache::new(SHAPE, KvDType::F32, Some(5));
        let mut position = 0;
        for n in [1, 3, 16, 2, 7, 1, 130, 4, 5, 5, 5, 5, 70, 1, 1, 64] {
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
        assert!(cache.tail.capacity < 600, "the window grew to {}", cache.tail.capacity);
    }

    #[test]
    fn prefixes_are_shared_and_frozen_with_the_tail() {
        let mut voice = KvCache::new(SHAPE, KvDType::F32, None);
        extend(&mut voice, 0..3);
        let prefix = voice.freeze();
        let mut stream = KvCache::with_prefix(Arc::clone(&prefix), 1, KvDType::F32);
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
