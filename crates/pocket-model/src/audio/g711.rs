//! A-law and mu-law: logarithmic 8-bit codes to 16-bit samples, after ITU-T G.711.

/// The sample of an A-law code: 13 bits at the upper end of 16.
pub(super) fn alaw(code: u8) -> i16 {
    let code = code ^ 0x55;
    let (segment, step) = (code >> 4 & 7, i16::from(code & 15) << 4);
    let magnitude = match segment {
        0 => step + 8,
        segment => (step + 0x108) << (segment - 1),
    };
    if code & 0x80 == 0 { -magnitude } else { magnitude }
}

/// The sample of a mu-law code: 14 bits at the upper end of 16.
pub(super) fn mulaw(code: u8) -> i16 {
    const BIAS: i16 = 0x84;
    let code = !code;
    let magnitude = (((i16::from(code & 15) << 3) + BIAS) << (code >> 4 & 7)) - BIAS;
    if code & 0x80 == 0 { magnitude } else { -magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The 256 samples of A-law, then of mu-law, from libsndfile 1.2.2.
    const SAMPLES: &str = include_str!("../../testdata/g711.txt");

    #[test]
    fn every_code_has_the_sample_that_libsndfile_gives_it() {
        let expected: Vec<i16> = SAMPLES.split_whitespace().map(|word| word.parse().unwrap()).collect();
        let actual: Vec<i16> = (0..=255).map(alaw).chain((0..=255).map(mulaw)).collect();
        assert_eq!(actual, expected);
    }
}
