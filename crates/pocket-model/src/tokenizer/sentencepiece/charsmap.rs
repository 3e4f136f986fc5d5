//! The rules of a normaliser: strings that are replaced by others, as compiled into the file.
//!
//! The blob is a length, a double-array trie of that many bytes whose values are offsets, and the
//! replacements, each ended by a zero byte. The trie is that of Darts-clone: units of 32 bits, where
//! the child of unit `i` by `byte` is `i ^ offset(i) ^ byte` if that unit has `byte` for a label.

/// Longer rules of one text are not looked for once so many shorter ones match.
const MAX_MATCHES: usize = 32;
/// The trie is a whole number of blocks of 256 units.
const BLOCK_BYTES: usize = 1024;

/// Rules; every offset in them is checked.
#[derive(Clone, Debug)]
pub(super) struct Charsmap {
    units: Vec<u32>,
    replacements: Vec<u8>,
}

impl Charsmap {
    /// Reads the rules; the error says what is wrong with them.
    pub(super) fn parse(blob: &[u8]) -> Result<Self, String> {
        let parts = blob.split_first_chunk().and_then(|(length, rest)| {
            let n_bytes = usize::try_from(u32::from_le_bytes(*length)).ok()?;
            let is_whole = n_bytes >= BLOCK_BYTES && n_bytes.is_multiple_of(BLOCK_BYTES);
            rest.split_at_checked(n_bytes).filter(|_| is_whole)
        });
        let (trie, replacements) =
            parts.filter(|(_, replacements)| replacements.last() == Some(&0)).ok_or_else(fault)?;
        let units = trie.as_chunks().0.iter().map(|unit| u32::from_le_bytes(*unit)).collect();
        let charsmap = Self { units, replacements: replacements.to_vec() };
        if charsmap.is_valid() { Ok(charsmap) } else { Err(fault()) }
    }

    /// The longest rule that applies at the start of `text`: how many bytes it replaces, by what.
    pub(super) fn longest_match(&self, text: &[u8]) -> Option<(usize, &[u8])> {
        let mut longest = None;
        let mut n_matches = 0;
        let mut index = offset(self.units[0]);
        for (position, &byte) in text.iter().enumerate() {
            index ^= usize::from(byte);
            let Some(&unit) = self.units.get(index).filter(|&&unit| label(unit) == u32::from(byte)) else { break };
            index ^= offset(unit);
            if has_leaf(unit) {
                longest = Some((position + 1, value(*self.units.get(index)?)));
                n_matches += 1;
                if n_matches == MAX_MATCHES {
                    break;
                }
            }
        }
        let (length, start) = longest?;
        let replacement = self.replacements.get(start..)?;
        let end = replacement.iter().position(|&byte| byte == 0)?;
        Some((length, &replacement[..end]))
    }

    /// The checks that the library makes before it follows offsets.
    fn is_valid(&self) -> bool {
        let leads_inside = |index: usize| (index ^ offset(self.units[index])) | 0xff < self.units.len();
        let root = self.units[0];
        let is_root = label(root) == 0 && !has_leaf(root) && offset(root) != 0 && leads_inside(0);
        is_root
            && (1..self.units.len()).all(|index| {
                let unit = self.units[index];
                if label(unit) > 0xff {
                    return value(unit) < self.replacements.len();
                }
                leads_inside(index) && !(has_leaf(unit) && label(self.units[index ^ offset(unit)]) <= 0xff)
            })
    }
}

fn fault() -> String {
    "the rules of its normaliser are damaged".to_owned()
}

/// Above 255 for a leaf, which holds a value.
fn label(unit: u32) -> u32 {
    unit & (1 << 31 | 0xff)
}

fn has_leaf(unit: u32) -> bool {
    unit >> 8 & 1 == 1
}

fn value(unit: u32) -> usize {
    (unit & !(1 << 31)) as usize
}

fn offset(unit: u32) -> usize {
    ((unit >> 10) << ((unit & 1 << 9) >> 6)) as usize
}
