//! File systems that are made, mounted, cut off and taken away again.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Runs a tool; what it said if it failed.
pub(crate) fn try_run(command: &[&str]) -> Result<String, String> {
    let out = Command::new(command[0])
        .args(&command[1..])
        .output()
        .map_err(|e| format!("{}: {e}", command[0]))?;
    let said =
        format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    if out.status.success() { Ok(said) } else { Err(format!("{command:?}: {said}")) }
}

pub(crate) fn run(command: &[&str]) -> String {
    try_run(command).unwrap_or_else(|e| panic!("{e}"))
}

/// Something mounted in a folder; it is unmounted with this value.
pub(crate) struct Mount {
    at: PathBuf,
}

impl Mount {
    /// A file system of the memory, of so many bytes.
    pub(crate) fn tmpfs(at: PathBuf, bytes: u64) -> Self {
        let size = format!("size={bytes},mode=0700");
        run(&["mount", "-t", "tmpfs", "-o", &size, "reelvault-machine", at.to_str().unwrap()]);
        Self { at }
    }

    /// A file system in a file. The loop device goes away with the mount.
    ///
    /// It writes a page at a time: the loop driver of Linux 6.18 takes a request for done of which only the first pages found room, and a
    /// device that lies is not what is tested here.
    pub(crate) fn image(image: &Path, at: PathBuf, options: &str) -> Self {
        let device = run(&["losetup", "--find", "--show", image.to_str().unwrap()]);
        let device = device.trim();
        let name = device.trim_start_matches("/dev/");
        let mounted = fs::write(format!("/sys/block/{name}/queue/max_sectors_kb"), "4")
            .map_err(|e| format!("{device}: {e}"))
            .and_then(|()| {
                let options = if options.is_empty() { "rw" } else { options };
                try_run(&["mount", "-o", options, device, at.to_str().unwrap()])
            });
        // As soon as nothing uses it.
        let _ = try_run(&["losetup", "--detach", device]);
        mounted.unwrap_or_else(|e| panic!("{e}"));
        Self { at }
    }

    pub(crate) fn at(&self) -> &Path {
        &self.at
    }

    /// Gives a file system of the memory another size.
    pub(crate) fn resize(&self, bytes: u64) {
        let at = self.at.to_str().unwrap();
        try_run(&["mount", "-o", &format!("remount,size={bytes}"), at])
            .unwrap_or_else(|e| panic!("{e}{}", run(&["du", "-a", at])));
    }

    /// What was not written yet never will be, as when the power is cut. With `flushed`, the journal of the file system is written first.
    pub(crate) fn cut(&self, flushed: bool) {
        let shutdown = if flushed { "shutdown -f" } else { "shutdown" };
        run(&["xfs_io", "-x", "-c", shutdown, self.at.to_str().unwrap()]);
    }

    /// Unmounts it; nobody may use it any more.
    pub(crate) fn unmount(self) {
        run(&["umount", self.at.to_str().unwrap()]);
        std::mem::forget(self);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // After a test that failed something may still be open in it.
        let at = self.at.to_str().unwrap();
        if try_run(&["umount", at]).is_err() {
            let _ = try_run(&["umount", "-l", at]);
        }
    }
}

/// A file system that can be made in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ext4,
    Xfs,
}

impl Kind {
    /// Makes one in a file of holes.
    pub(crate) fn make(self, image: &Path) {
        // The smallest that mkfs.xfs makes, and some. Blocks are pages: see `Mount::image`.
        File::create(image).unwrap().set_len(320 << 20).unwrap();
        let image = image.to_str().unwrap();
        match self {
            // A small journal: one that wraps soon needs no new blocks.
            Self::Ext4 => run(&[
                "mkfs.ext4",
                "-q",
                "-F",
                "-b",
                "4096",
                "-J",
                "size=4",
                "-E",
                "nodiscard",
                image,
            ]),
            Self::Xfs => run(&["mkfs.xfs", "-q", "-f", "-K", image]),
        };
    }

    /// Mends one that was not unmounted, as the start of a machine would; where that asks for a person, as that person would. XFS mends
    /// itself when it is mounted.
    pub(crate) fn mend(self, image: &Path) {
        if self == Self::Xfs {
            return;
        }
        let image = image.to_str().unwrap();
        let check = |how| Command::new("e2fsck").args([how, image]).output().unwrap();
        let mut done = check("-p");
        if !is_mended(&done) {
            println!("e2fsck: {}", String::from_utf8_lossy(&done.stdout));
            done = check("-y");
        }
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(is_mended(&done), "e2fsck: {said} {}", String::from_utf8_lossy(&done.stderr));
    }
}

/// 0: nothing to do; 1: mended.
fn is_mended(check: &Output) -> bool {
    matches!(check.status.code(), Some(0 | 1))
}

/// A file system in a file, and where it is mounted: what a machine has after each start.
pub(crate) struct Machine {
    kind: Kind,
    options: &'static str,
    pub(crate) image: PathBuf,
    pub(crate) at: PathBuf,
    pub(crate) mount: Option<Mount>,
}

impl Machine {
    pub(crate) fn new(kind: Kind, options: &'static str, memory: &Path, at: PathBuf) -> Self {
        let image = memory.join("image");
        kind.make(&image);
        let mount = Some(Mount::image(&image, at.clone(), options));
        Self { kind, options, image, at, mount }
    }

    pub(crate) fn cut(&self, flushed: bool) {
        self.mount.as_ref().unwrap().cut(flushed);
    }

    /// Starts it again after a cut.
    pub(crate) fn restart(&mut self) {
        self.mount.take().unwrap().unmount();
        self.kind.mend(&self.image);
        self.mount = Some(Mount::image(&self.image, self.at.clone(), self.options));
    }
}

/// Unmounts what tests of ours left that were killed: folders with this prefix whose process is gone.
pub(crate) fn clear_leftovers(prefix: &str) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let ours = std::env::temp_dir().join(prefix);
    let ours = ours.to_str().unwrap();
    // The last mounted first: one may lie in another.
    for at in mounts.lines().rev().filter_map(|m| m.split(' ').nth(1)) {
        let Some(rest) = at.strip_prefix(ours) else { continue };
        let process = rest.split(['-', '/']).next().unwrap_or_default();
        if process.parse::<u32>().is_ok() && !Path::new("/proc").join(process).exists() {
            let _ = try_run(&["umount", "-l", at]);
        }
    }
}
