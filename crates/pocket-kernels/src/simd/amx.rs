//! AMX: tiles of 16 rows of 64 bytes, beside AVX-512 with VNNI.
//!
//! The compiler has no stable intrinsics for AMX; its assembler knows the instructions by name. Tiles are
//! configured, used and released within one call, and the compiler never uses them itself.

use std::arch::asm;
use std::arch::x86_64::{__cpuid_count, CpuidResult};
use std::marker::PhantomData;
use std::sync::OnceLock;

use super::avx512::Avx512;

/// Rows of a tile.
pub(crate) const TILE_ROWS: usize = 16;
/// Bytes of a tile's row.
pub(crate) const TILE_BYTES: usize = 64;

/// Proof that the CPU has AMX tiles with products of bytes and of bf16 and AVX-512 with VNNI, and that the system
/// lets this process use them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amx(Avx512<true>);

impl Amx {
    /// A token if the CPU has the instructions and Linux permits them; asks for the permission once.
    #[must_use]
    pub fn detect() -> Option<Self> {
        static USABLE: OnceLock<bool> = OnceLock::new();
        let vectors = Avx512::detect()?;
        USABLE.get_or_init(|| has_instructions() && has_state() && is_permitted()).then_some(Self(vectors))
    }

    /// The token of the vector instructions.
    #[inline(always)]
    pub(crate) fn vectors(self) -> Avx512<true> {
        self.0
    }

    /// Tiles in which the activations and sums have `n_rows` rows, until the value is dropped.
    ///
    /// # Panics
    /// If that is none or more than [`TILE_ROWS`].
    #[expect(clippy::unused_self, reason = "the token is the proof")]
    #[inline(always)]
    pub(crate) fn configure(self, n_rows: usize) -> Tiles {
        assert!(0 < n_rows && n_rows <= TILE_ROWS, "a tile of {n_rows} rows");
        let mut config = Config { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        config.row_bytes[..8].fill(TILE_BYTES as u16);
        config.rows[..6].fill(n_rows as u8);
        config.rows[6..8].fill(TILE_ROWS as u8);
        // SAFETY: the token proves the instruction, and the configuration is one of palette 1.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, preserves_flags)) };
        Tiles(PhantomData)
    }
}

/// The operand of `ldtilecfg`.
#[repr(C)]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Configured tiles of this thread, which cannot be given to another.
pub(crate) struct Tiles(PhantomData<*mut ()>);

/// Sums of the products of 32 columns of weights with the high and with the low bytes:
/// `[high and low, columns 0..16 and 16..32, rows, 16 columns]`.
#[repr(C, align(64))]
pub(crate) struct Sums(pub(crate) [[[[i32; 16]; TILE_ROWS]; 2]; 2]);

/// 64 · n weights of 32 columns in groups of 4: `[16 · n groups, 32 columns, 4]`.
#[repr(C, align(64))]
pub(crate) struct Quads<const N: usize>(pub(crate) [[[i8; 4]; 32]; N]);

/// Sums of the products of two times 16 columns of weights: `[first and second, rows, 16 columns]`.
#[repr(C, align(64))]
pub(crate) struct Bf16Sums(pub(crate) [[[f32; 16]; TILE_ROWS]; 2]);

/// Bits of 32 · n weights of 32 columns in pairs: `[16 · n pairs, first and second 16 columns, 2]`.
#[repr(C, align(64))]
pub(crate) struct Pairs<const N: usize>(pub(crate) [[u16; 64]; N]);

impl Tiles {
    /// `sums = x · w` in bf16, summed in f32 over `n_steps` times 32 inputs.
    ///
    /// # Safety
    /// - `x` must be readable for `32 * n_steps` numbers in each of the configured rows, which lie `stride`
    ///   bytes apart.
    #[expect(clippy::unused_self, reason = "it proves that the tiles are configured")]
    #[inline(always)]
    pub(crate) unsafe fn dot_bf16<const N: usize>(
        &self,
        x: *const u16,
        stride: usize,
        w: &Pairs<N>,
        n_steps: usize,
        sums: &mut Bf16Sums,
    ) {
        assert!(0 < n_steps && n_steps * 16 <= N, "weights past their end");
        // SAFETY: a configuration with tiles of activations or sums and two of 16 rows of weights is loaded
        // while `self` exists. The reads of the rows are the caller's promise, those of the weights are within
        // `w` (asserted), and the sums hold 2 tiles.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "2:",
                "tileloadd tmm4, [{x} + {x_stride}*1]",
                "tileloadd tmm6, [{w} + {w_stride}*1]",
                "tileloadd tmm7, [{w} + {w_stride}*1 + 64]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "add {x}, 64",
                "add {w}, 2048",
                "dec {n}",
                "jnz 2b",
                "tilestored [{sums} + {sum_stride}*1], tmm0",
                "tilestored [{sums} + {sum_stride}*1 + 1024], tmm1",
                x = inout(reg) x => _,
                w = inout(reg) w => _,
                n = inout(reg) n_steps => _,
                x_stride = in(reg) stride,
                w_stride = in(reg) 128_usize,
                sums = in(reg) sums,
                sum_stride = in(reg) 64_usize,
                options(nostack),
            );
        }
    }

    /// `sums = high · w` and `low · w`, over `n_steps` times 64 weights.
    ///
    /// # Safety
    /// - `high` and `low` must be readable for `64 * n_steps` bytes in each of the configured rows, which lie
    ///   `stride` bytes apart.
    #[expect(clippy::unused_self, reason = "it proves that the tiles are configured")]
    #[inline(always)]
    pub(crate) unsafe fn dot<const N: usize>(
        &self,
        (high, low): (*const i8, *const i8),
        stride: usize,
        w: &Quads<N>,
        n_steps: usize,
        sums: &mut Sums,
    ) {
        assert!(0 < n_steps && n_steps * 16 <= N, "weights past their end");
        // SAFETY: a configuration with 6 tiles of activations or sums and two of 16 rows of weights is
        // loaded while `self` exists. The reads of the rows are the caller's promise, those of the weights
        // are within `w` (asserted), and the sums hold 4 tiles.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "tileloadd tmm4, [{high} + {x_stride}*1]",
                "tileloadd tmm5, [{low} + {x_stride}*1]",
                "tileloadd tmm6, [{w} + {w_stride}*1]",
                "tileloadd tmm7, [{w} + {w_stride}*1 + 64]",
                "tdpbssd tmm0, tmm4, tmm6",
                "tdpbssd tmm1, tmm4, tmm7",
                "tdpbssd tmm2, tmm5, tmm6",
                "tdpbssd tmm3, tmm5, tmm7",
                "add {high}, 64",
                "add {low}, 64",
                "add {w}, 2048",
                "dec {n}",
                "jnz 2b",
                "tilestored [{sums} + {sum_stride}*1], tmm0",
                "tilestored [{sums} + {sum_stride}*1 + 1024], tmm1",
                "tilestored [{sums} + {sum_stride}*1 + 2048], tmm2",
                "tilestored [{sums} + {sum_stride}*1 + 3072], tmm3",
                high = inout(reg) high => _,
                low = inout(reg) low => _,
                w = inout(reg) w => _,
                n = inout(reg) n_steps => _,
                x_stride = in(reg) stride,
                w_stride = in(reg) 128_usize,
                sums = in(reg) sums,
                sum_stride = in(reg) 64_usize,
                options(nostack),
            );
        }
    }
}

impl Drop for Tiles {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: tiles exist only where `Amx` does, which proves the instruction.
        unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
    }
}

/// Whether the CPU has tiles of 16 × 64 bytes and products of bytes and of bf16.
fn has_instructions() -> bool {
    const TILE: u32 = 1 << 24;
    const INT8: u32 = 1 << 25;
    const BF16: u32 = 1 << 22;
    const ALL: u32 = TILE | INT8 | BF16;
    let leaf = |leaf: u32, sub_leaf: u32| -> CpuidResult { __cpuid_count(leaf, sub_leaf) };
    if leaf(0, 0).eax < 0x1D || leaf(7, 0).edx & ALL != ALL {
        return false;
    }
    let palette = leaf(0x1D, 1);
    let (row_bytes, n_tiles, n_rows) = (palette.ebx & 0xFFFF, palette.ebx >> 16, palette.ecx & 0xFFFF);
    row_bytes as usize == TILE_BYTES && n_tiles >= 8 && n_rows as usize == TILE_ROWS
}

/// Whether the system saves the tiles and their configuration.
fn has_state() -> bool {
    const TILES: u32 = 1 << 17 | 1 << 18;
    let state: u32;
    // SAFETY: AVX-512, which is detected first, is there only if the system has enabled XGETBV.
    unsafe { asm!("xgetbv", in("ecx") 0, out("eax") state, out("edx") _, options(nomem, nostack, preserves_flags)) };
    state & TILES == TILES
}

/// Asks Linux for the state of the tiles, which is too large to be given to every process.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XTILEDATA: u64 = 18;
    let result: i64;
    // SAFETY: the call takes two numbers and changes nothing of the program's memory.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XTILEDATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}
