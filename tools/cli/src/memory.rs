//! What the allocator keeps of what was freed.

/// Asks the C library's allocator to keep few arenas.
///
/// By default it makes eight for each core, and each keeps what its threads freed. A service in which many threads read a few hundred KiB each,
/// one after the other, then holds twice the memory that it ever uses at once.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
pub(crate) fn few_arenas() {
    const ARENAS: i32 = 2;
    // SAFETY: mallopt(3) takes two numbers and may be called at any time. Its answer tells only whether it knows the parameter.
    let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS) };
}

/// Other allocators have no arenas.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn few_arenas() {}
