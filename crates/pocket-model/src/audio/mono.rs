//! The mean of the channels, with the bits that `NumPy` gives.

/// Sums of up to this many terms are not split further.
const BLOCK: usize = 128;

/// Writes the mean of the channels of each whole frame of `interleaved`
/// `[frames, n_channels]` to `mono`, in place of what it held.
///
/// The sum runs in f32 in the order of `numpy.mean(axis=1)`.
///
/// # Panics
/// When there are no channels.
pub(super) fn mean_into(interleaved: &[f32], n_channels: usize, mono: &mut Vec<f32>) {
    mono.clear();
    if n_channels == 1 {
        mono.extend_from_slice(interleaved);
    } else {
        let divisor = n_channels as f32;
        mono.extend(interleaved.chunks_exact(n_channels).map(|frame| pairwise_sum(frame) / divisor));
    }
}

/// `NumPy`'s pairwise summation: few terms one after the other, more in eight interleaved sums, many
/// in two halves.
fn pairwise_sum(terms: &[f32]) -> f32 {
    if terms.len() < 8 {
        return terms.iter().fold(0.0, |sum, x| sum + x);
    }
    if terms.len() > BLOCK {
        let half = terms.len() / 2;
        let (left, right) = terms.split_at(half - half % 8);
        return pairwise_sum(left) + pairwise_sum(right);
    }
    let (rows, rest) = terms.as_chunks::<8>();
    let mut r = rows[0];
    for row in &rows[1..] {
        for (sum, x) in r.iter_mut().zip(row) {
            *sum += x;
        }
    }
    let sum = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
    rest.iter().fold(sum, |sum, x| sum + x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    #[test]
    fn means_are_close_to_the_exact_ones() {
        for n_channels in [1, 2, 3, 7, 8, 9, 17, 128, 129, 300] {
            let interleaved = noise(3 * n_channels + n_channels / 2);
            let mut mono = vec![9.0];
            mean_into(&interleaved, n_channels, &mut mono);
            let frames = interleaved.chunks_exact(n_channels);
            assert_eq!(mono.len(), frames.len());
            for (mean, frame) in mono.iter().zip(frames) {
                let exact = frame.iter().map(|&x| f64::from(x)).sum::<f64>() / n_channels as f64;
                assert!((f64::from(*mean) - exact).abs() < 1e-6, "{n_channels}");
            }
        }
    }
}
