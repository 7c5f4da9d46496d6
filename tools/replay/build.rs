//! Builds the page of `web/dist` into the program, if it was built.

#![allow(clippy::disallowed_methods, reason = "a build script reads and writes files of the build")]

use std::fmt::Write;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("web/dist");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=web/dist");
    let mut files = Vec::new();
    if root.join("index.html").is_file() {
        walk(&root, &mut files)?;
    }
    files.sort();
    let mut code = String::from("static FILES: &[File] = &[\n");
    for file in &files {
        println!("cargo:rerun-if-changed={}", file.display());
        let path = file.strip_prefix(&root)?.to_string_lossy().replace('\\', "/");
        // Two FNV-1a sums: the tag only tells one build of a file from another.
        let bytes = std::fs::read(file)?;
        let tag = format!("\"{:016x}{:016x}\"", fnv(&bytes, 1), fnv(&bytes, 2));
        let kind = kind(&path);
        let at = file.to_string_lossy();
        writeln!(
            code,
            "    File {{ path: {path:?}, kind: {kind:?}, tag: {tag:?}, bytes: include_bytes!({at:?}) }},"
        )?;
    }
    code.push_str("];\n");
    let out = PathBuf::from(std::env::var("OUT_DIR")?).join("page.rs");
    std::fs::write(out, code)?;
    Ok(())
}

fn walk(dir: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn fnv(bytes: &[u8], seed: u64) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bytes.iter().fold(start, |sum, b| (sum ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

fn kind(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, end)| end) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
