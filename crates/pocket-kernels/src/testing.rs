//! What the tests and benches of every crate share: levels to run, awkward sizes, random data, errors.

use crate::level::Level;

/// Calls `check` with every level of this CPU, or with the one that `POCKET_SIMD` names; prints the
/// other levels as NOT RUN.
///
/// # Panics
/// If `POCKET_SIMD` names no level of this CPU.
pub fn for_each_level(mut check: impl FnMut(Level)) {
    let forced = std::env::var("POCKET_SIMD").ok().filter(|name| !name.is_empty());
    let levels = match &forced {
        Some(name) => vec![Level::from_name(name).unwrap_or_else(|error| panic!("{error}"))],
        None => Level::available(),
    };
    for name in Level::ALL_NAMES {
        if levels.iter().all(|level| level.name() != name) {
            report_not_run(name, forced.as_deref());
        }
    }
    for level in levels {
        check(level);
    }
}

#[expect(clippy::print_stderr, reason = "a level that is not tested must be visible")]
fn report_not_run(name: &str, forced: Option<&str>) {
    match forced {
        Some(forced) => eprintln!("NOT RUN: level {name} (POCKET_SIMD={forced})"),
        None => eprintln!("NOT RUN: level {name} (this CPU lacks it)"),
    }
}

/// Lengths around the vector width: 0, 1, N − 1, N, N + 1, and longer ones that are no multiple.
#[must_use]
pub fn awkward_lengths(n: usize) -> Vec<usize> {
    vec![0, 1, 2, 3, 5, 7, 8, 9, n - 1, n, n + 1, 2 * n - 1, 2 * n + 3, 5 * n + 2]
}

/// Values that break careless arithmetic.
#[must_use]
pub fn hostile_values() -> Vec<f32> {
    vec![
        0.0,
        -0.0,
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::MIN_POSITIVE,
        1e-40,
        -1e-40,
        88.7,
        -88.7,
        1e4,
        -1e4,
        f32::MAX,
        f32::MIN,
    ]
}

/// A small deterministic generator (`SplitMix64`), good enough for test data.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator with the given seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A value in `[low, high)`.
    pub fn uniform(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * ((self.next_u64() >> 40) as f32 / (1_u64 << 24) as f32)
    }

    /// An index below `n`.
    ///
    /// # Panics
    /// If `n` is zero.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next_u64() % n as u64) as usize
    }
}

/// `n` values in `[low, high)`.
#[must_use]
pub fn uniform(seed: u64, n: usize, low: f32, high: f32) -> Vec<f32> {
    let mut rng = Rng::new(seed);
    (0..n).map(|_| rng.uniform(low, high)).collect()
}

/// Representable f32 values between `a` and `b`; `u32::MAX` if one is NaN and the other is not.
#[must_use]
pub fn ulp_distance(a: f32, b: f32) -> u32 {
    if a.is_nan() || b.is_nan() {
        return if a.is_nan() && b.is_nan() { 0 } else { u32::MAX };
    }
    let ordered = |x: f32| {
        let bits = i64::from(x.to_bits().cast_signed());
        if bits < 0 { i64::from(i32::MIN) - bits } else { bits }
    };
    u32::try_from(ordered(a).abs_diff(ordered(b))).unwrap_or(u32::MAX)
}

/// `‖a − b‖ / ‖b‖`, in f64.
///
/// # Panics
/// If the lengths differ.
#[must_use]
pub fn relative_l2(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len(), "lengths differ");
    let (mut error, mut norm) = (0.0, 0.0);
    for (&a, &b) in a.iter().zip(b) {
        error += (f64::from(a) - f64::from(b)).powi(2);
        norm += f64::from(b).powi(2);
    }
    if error == 0.0 { 0.0 } else { (error / norm).sqrt() }
}
