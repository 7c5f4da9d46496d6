//! Limits that a process sets for itself: files, and memory.

use std::io;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

fn set(resource: Resource, current: u64) -> io::Result<()> {
    let maximum = getrlimit(resource).maximum;
    Ok(setrlimit(resource, Rlimit { current: Some(current), maximum })?)
}

/// No more than so many open files.
///
/// # Errors
/// The system's.
pub fn files(most: u64) -> io::Result<()> {
    set(Resource::Nofile, most)
}

/// No more than so many bytes of data: heap, stacks, and what else is mapped to be written. Address space that is only reserved does not
/// count, of which the allocator takes 64 MiB for each thread.
///
/// # Errors
/// The system's.
pub fn memory(bytes: u64) -> io::Result<()> {
    set(Resource::Data, bytes)
}

/// For a while no file can be opened; those that are open stay so.
pub fn starve(how_long: Duration) {
    let before = getrlimit(Resource::Nofile).current.unwrap_or(1024);
    // The lowest free number is what the next file would get; standard streams have the first three.
    if files(3).is_ok() {
        std::thread::sleep(how_long);
        let _ = files(before);
    }
}
