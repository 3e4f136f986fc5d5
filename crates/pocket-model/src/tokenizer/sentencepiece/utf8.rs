//! UTF-8 in bytes that may be no text: pieces, rules and byte tokens of a damaged or odd model.

/// What a leading byte says about the length of its character; 1 for bytes that lead none.
pub(super) fn announced_len(lead: u8) -> usize {
    match lead {
        0..0xC0 => 1,
        0xC0..0xE0 => 2,
        0xE0..0xF0 => 3,
        0xF0.. => 4,
    }
}

/// [`announced_len`] of the first byte, cut at the end of `bytes`, which are not empty.
pub(super) fn step_len(bytes: &[u8]) -> usize {
    announced_len(bytes[0]).min(bytes.len())
}

/// The character at the start of `bytes`, if there is a whole one.
pub(crate) fn first_char(bytes: &[u8]) -> Option<char> {
    let head = bytes.get(..announced_len(*bytes.first()?))?;
    std::str::from_utf8(head).ok()?.chars().next()
}

/// All characters, and U+FFFD for every byte that belongs to none.
pub(super) fn lossy_chars(mut bytes: &[u8]) -> impl Iterator<Item = char> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let c = first_char(bytes);
        bytes = &bytes[c.map_or(1, char::len_utf8)..];
        Some(c.unwrap_or(char::REPLACEMENT_CHARACTER))
    })
}
