//! Which kernels this processor can run, and their relative speeds.

use std::sync::LazyLock;

use super::Kernel;

/// A way to hash several streams at once.
#[derive(Clone, Copy, Debug)]
pub(in crate::hash) struct Mode {
    pub(in crate::hash) kernel: Kernel,
    /// The maximum number of streams that it advances.
    pub(in crate::hash) streams: usize,
    /// The speed of each stream when all are in use, relative to 100 for a single stream.
    pub(in crate::hash) pace: u64,
}

/// For measurements: `avx512`, `sha-ni` or `portable` restricts the kernels.
const VARIABLE: &str = "CATALOG_HASH_KERNEL";

/// The ways to hash on this machine, sorted by number of streams. Detected once.
pub(in crate::hash) fn modes() -> &'static [Mode] {
    static MODES: LazyLock<Vec<Mode>> = LazyLock::new(|| {
        let wanted = std::env::var(VARIABLE);
        // Without optimisation each instruction of a kernel is a call: 40 times slower than `sha2`, which is always
        // optimised.
        let default = if cfg!(debug_assertions) { PORTABLE } else { AVX512 };
        let found = find(wanted.as_deref().unwrap_or(default));
        tracing::debug!(?wanted, ?found, "SHA-256 kernels");
        found
    });
    &MODES
}

const AVX512: &str = "avx512";
const PORTABLE: &str = "portable";

const ALONE: Mode = Mode { kernel: Kernel::Single, streams: 1, pace: 100 };

/// The modes of the named kernel, and of the kernels that it needs for the few streams left at the end. Modes that the
/// processor cannot run are omitted.
///
/// The paces lie between those measured on Zen 5 (76, 41, 15) and on an Intel Xeon with AMX (60, 30, 13). A few percent
/// do not change how the work is distributed.
#[cfg(all(target_arch = "x86_64", not(catalog_portable)))]
pub(super) fn find(name: &str) -> Vec<Mode> {
    let sha_ni = super::sha_ni::ShaNi::detect().filter(|_| name != PORTABLE).map(Kernel::ShaNi);
    let avx512 = super::avx512::Avx512::detect().filter(|_| name == AVX512).map(Kernel::Avx512);
    let mut modes = vec![ALONE];
    if let Some(kernel) = sha_ni {
        modes.push(Mode { kernel, streams: 2, pace: 68 });
        modes.push(Mode { kernel, streams: super::sha_ni::STREAMS, pace: 35 });
    }
    if let Some(kernel) = avx512 {
        // If single streams are hashed in software, they are three times slower, but these are not.
        let pace = if sha_ni.is_some() { 14 } else { 42 };
        modes.push(Mode { kernel, streams: super::avx512::LANES, pace });
    }
    modes
}

#[cfg(not(all(target_arch = "x86_64", not(catalog_portable))))]
pub(super) fn find(_: &str) -> Vec<Mode> {
    vec![ALONE]
}
