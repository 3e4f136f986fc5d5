//! Byte strings with values, found by walking along a text.
//!
//! Nodes are numbered breadth first, so the children of a node lie side by side, in the order of
//! their bytes, and end where those of the next node begin: 13 bytes a node.

use std::collections::VecDeque;
use std::ops::Range;

/// A set of byte strings, each with a value; immutable.
#[derive(Clone, Debug)]
pub(super) struct Trie {
    /// The byte that leads to each node.
    labels: Vec<u8>,
    /// Where the children of each node begin; one entry more than there are nodes.
    first_child: Vec<u32>,
    /// The value of the string that ends at each node.
    values: Vec<Option<u32>>,
}

impl Trie {
    /// A trie of `entries`, which it sorts; the error is a string that occurs twice.
    ///
    /// The strings have fewer than 2³² bytes together.
    pub(super) fn new<'a>(entries: &mut [(&'a [u8], u32)]) -> Result<Self, &'a [u8]> {
        entries.sort_unstable();
        if let Some(pair) = entries.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(pair[0].0);
        }
        let mut trie = Self { labels: vec![0], first_child: Vec::new(), values: Vec::new() };
        // The entries below each node that is not described yet, and its depth.
        let mut queue = VecDeque::from([(0..entries.len(), 0)]);
        while let Some((mut below, depth)) = queue.pop_front() {
            trie.first_child.push(trie.labels.len() as u32);
            let own = entries[below.clone()].first().filter(|(key, _)| key.len() == depth);
            trie.values.push(own.map(|&(_, value)| value));
            below.start += usize::from(own.is_some());
            while let Some(&(key, _)) = entries[below.clone()].first() {
                let label = key[depth];
                let end = below.start + entries[below.clone()].partition_point(|(key, _)| key[depth] == label);
                trie.labels.push(label);
                queue.push_back((below.start..end, depth + 1));
                below.start = end;
            }
        }
        trie.first_child.push(trie.labels.len() as u32);
        Ok(trie)
    }

    /// The strings that `text` begins with, shortest first: their lengths and values.
    pub(super) fn prefixes(&self, text: &[u8]) -> impl Iterator<Item = (usize, u32)> {
        let mut node = 0;
        let nodes = text.iter().map_while(move |&byte| {
            let children = self.children(node);
            node = children.start + self.labels[children].binary_search(&byte).ok()?;
            Some(node)
        });
        nodes.enumerate().filter_map(|(index, node)| Some((index + 1, self.values[node]?)))
    }

    /// The value of `key`.
    pub(super) fn get(&self, key: &[u8]) -> Option<u32> {
        self.prefixes(key).find(|&(length, _)| length == key.len()).map(|(_, value)| value)
    }

    fn children(&self, node: usize) -> Range<usize> {
        self.first_child[node] as usize..self.first_child[node + 1] as usize
    }
}
