//! An allocator that ends the process when more is allocated at once than any limit of the engine allows.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// As the limits have it for the largest unit of an index; see `limits.rs` of the engine.
pub const ALLOCATION_MAX: usize = 64 << 20;

struct Limited;

#[global_allocator]
static ALLOCATOR: Limited = Limited;

/// Whoever tells of the end may need memory for it.
static ENDING: AtomicBool = AtomicBool::new(false);

fn check(bytes: usize) {
    if bytes > ALLOCATION_MAX && !ENDING.swap(true, Relaxed) {
        // An allocator must not unwind, so this is no `panic!`; libFuzzer keeps the input of either.
        let from = std::backtrace::Backtrace::force_capture();
        eprintln!("panic: {bytes} bytes at once, and the limit is {ALLOCATION_MAX}\n{from}");
        std::process::abort();
    }
}

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        check(bytes);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(at, layout, bytes) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(at, layout) }
    }
}
