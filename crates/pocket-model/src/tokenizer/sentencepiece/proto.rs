//! The fields of a `SentencePiece` model file that encoding and decoding need.
//!
//! The file is one protocol buffer, `ModelProto` of `sentencepiece_model.proto`. This reader is a
//! page long, borrows from the file and takes strings that are no UTF-8, as the format allows here;
//! code generated for the whole schema would need a compiler at build time or a runtime library.
//! As in every reader of the format, unknown fields are skipped, the last of several values counts,
//! and messages that occur twice are merged.

/// What the piece of a vocabulary is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PieceKind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

impl PieceKind {
    /// Whether such pieces may match text; the others stand for none.
    pub(super) fn is_text(self) -> bool {
        matches!(self, Self::Normal | Self::UserDefined | Self::Unused)
    }
}

/// How text is cut into pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ModelType {
    Unigram,
    Bpe,
    Word,
    Char,
}

/// One entry of the vocabulary.
#[derive(Clone, Copy, Debug)]
pub(super) struct PieceProto<'a> {
    pub(super) text: &'a [u8],
    pub(super) score: f32,
    pub(super) kind: PieceKind,
}

/// `TrainerSpec`.
#[derive(Clone, Copy, Debug)]
pub(super) struct TrainerSpec<'a> {
    pub(super) model_type: ModelType,
    pub(super) treats_whitespace_as_suffix: bool,
    pub(super) has_byte_fallback: bool,
    pub(super) unk_surface: &'a [u8],
}

/// `NormalizerSpec`.
#[derive(Clone, Copy, Debug)]
pub(super) struct NormalizerSpec<'a> {
    pub(super) precompiled_charsmap: &'a [u8],
    pub(super) adds_dummy_prefix: bool,
    pub(super) removes_extra_whitespaces: bool,
    pub(super) escapes_whitespaces: bool,
}

/// `ModelProto`.
#[derive(Clone, Debug)]
pub(super) struct ModelProto<'a> {
    pub(super) pieces: Vec<PieceProto<'a>>,
    pub(super) trainer: TrainerSpec<'a>,
    pub(super) normalizer: NormalizerSpec<'a>,
    pub(super) denormalizer: NormalizerSpec<'a>,
}

impl<'a> ModelProto<'a> {
    /// Reads a whole file; the error says what is wrong with it.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let mut model = Self {
            pieces: Vec::new(),
            trainer: TrainerSpec {
                model_type: ModelType::Unigram,
                treats_whitespace_as_suffix: false,
                has_byte_fallback: false,
                unk_surface: " \u{2047} ".as_bytes(),
            },
            normalizer: NormalizerSpec::DEFAULT,
            denormalizer: NormalizerSpec::DEFAULT,
        };
        for_each_field(bytes, |field| {
            match field {
                (1, Value::Bytes(piece)) => model.pieces.push(PieceProto::parse(piece)?),
                (2, Value::Bytes(spec)) => model.trainer.merge(spec)?,
                (3, Value::Bytes(spec)) => model.normalizer.merge(spec)?,
                (5, Value::Bytes(spec)) => model.denormalizer.merge(spec)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(model)
    }
}

impl<'a> PieceProto<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let mut piece = Self { text: &[], score: 0.0, kind: PieceKind::Normal };
        for_each_field(bytes, |field| {
            match field {
                (1, Value::Bytes(text)) => piece.text = text,
                (2, Value::Fixed32(bits)) => piece.score = f32::from_bits(bits),
                (3, Value::Varint(number)) => piece.kind = kind_from_number(number).unwrap_or(piece.kind),
                _ => {}
            }
            Ok(())
        })?;
        Ok(piece)
    }
}

/// None for a number that the schema does not know, which counts as absent.
fn kind_from_number(number: u64) -> Option<PieceKind> {
    Some(match number as i32 {
        1 => PieceKind::Normal,
        2 => PieceKind::Unknown,
        3 => PieceKind::Control,
        4 => PieceKind::UserDefined,
        5 => PieceKind::Unused,
        6 => PieceKind::Byte,
        _ => return None,
    })
}

impl<'a> TrainerSpec<'a> {
    fn merge(&mut self, bytes: &'a [u8]) -> Result<(), String> {
        for_each_field(bytes, |field| {
            match field {
                (3, Value::Varint(number)) => {
                    self.model_type = match number as i32 {
                        1 => ModelType::Unigram,
                        2 => ModelType::Bpe,
                        3 => ModelType::Word,
                        4 => ModelType::Char,
                        _ => self.model_type,
                    }
                }
                (24, Value::Varint(number)) => self.treats_whitespace_as_suffix = number != 0,
                (35, Value::Varint(number)) => self.has_byte_fallback = number != 0,
                (44, Value::Bytes(text)) => self.unk_surface = text,
                _ => {}
            }
            Ok(())
        })
    }
}

impl<'a> NormalizerSpec<'a> {
    const DEFAULT: Self = Self {
        precompiled_charsmap: &[],
        adds_dummy_prefix: true,
        removes_extra_whitespaces: true,
        escapes_whitespaces: true,
    };

    fn merge(&mut self, bytes: &'a [u8]) -> Result<(), String> {
        for_each_field(bytes, |field| {
            match field {
                (2, Value::Bytes(charsmap)) => self.precompiled_charsmap = charsmap,
                (3, Value::Varint(number)) => self.adds_dummy_prefix = number != 0,
                (4, Value::Varint(number)) => self.removes_extra_whitespaces = number != 0,
                (5, Value::Varint(number)) => self.escapes_whitespaces = number != 0,
                _ => {}
            }
            Ok(())
        })
    }
}

/// The value of a field, by its encoding.
enum Value<'a> {
    Varint(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
    /// Encodings that no field of interest has.
    Other,
}

/// Groups may be nested this deep; the schema has none.
const MAX_DEPTH: usize = 100;

/// Calls `visit` with the number and the value of every field.
fn for_each_field<'a>(
    bytes: &'a [u8],
    mut visit: impl FnMut((u32, Value<'a>)) -> Result<(), String>,
) -> Result<(), String> {
    let mut reader = Reader { bytes };
    while !reader.bytes.is_empty() {
        let (number, wire_type) = reader.tag().ok_or_else(damaged)?;
        visit((number, reader.value(number, wire_type, 0).ok_or_else(damaged)?))?;
    }
    Ok(())
}

fn damaged() -> String {
    "it is damaged or no protocol buffer".to_owned()
}

/// The unread rest of a message; every method is `None` where the bytes are no message.
struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.bytes.split_at_checked(n)?;
        self.bytes = rest;
        Some(head)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for index in 0..10 {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// The number of a field and its wire type.
    fn tag(&mut self) -> Option<(u32, u32)> {
        let tag = u32::try_from(self.varint()?).ok()?;
        (tag >> 3 != 0).then_some((tag >> 3, tag & 7))
    }

    fn value(&mut self, number: u32, wire_type: u32, depth: usize) -> Option<Value<'a>> {
        Some(match wire_type {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Other)?,
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            3 if depth < MAX_DEPTH => loop {
                match self.tag()? {
                    (end, 4) if end == number => break Value::Other,
                    (_, 4) => return None,
                    (inner, wire_type) => self.value(inner, wire_type, depth + 1)?,
                };
            },
            5 => Value::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            _ => return None,
        })
    }
}
