//! Certificates of deletions: in JSON as the engine spells them, and in files.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use reelvault::retention::Certificate;
use serde_json::value::RawValue;

use crate::exit::{Exit, Failure, Run};
use crate::human;

/// A certificate for a document: its bytes stay as they are, for its digest is that of its bytes.
pub(crate) fn raw(certificate: &Certificate) -> Run<Box<RawValue>> {
    RawValue::from_string(certificate.to_json())
        .map_err(|e| Failure::io("writing JSON", &std::io::Error::other(e)))
}

/// What a person is told of a certificate.
pub(crate) fn pairs(certificate: &Certificate) -> [(&'static str, String); 3] {
    let of = &certificate.statement;
    let last = if certificate.is_final() {
        "yes: no older copy of the keyring opens any more"
    } else {
        "NO: older copies of the keyring may still open"
    };
    [
        ("certificate", format!("number {}, of {}", of.number, human::time(of.at_ms))),
        ("keyring", format!("generation {} to {}", of.before, of.after)),
        ("final", last.to_owned()),
    ]
}

/// What there is to do about a deletion that is not final yet; nothing if it is.
pub(crate) fn warn(certificate: &Certificate) {
    if certificate.is_final() {
        return;
    }
    let text = "NOT FINAL: the key of older copies of the keyring is not destroyed. Whoever has \
                such a copy and what opened it can still read what was deleted. Why: reelvault \
                keys status";
    for line in human::wrap(text, 68) {
        crate::output::note(&line);
    }
}

/// A file for a certificate. It is made before anything is deleted, so that what cannot be taken back is not done
/// where its proof cannot be kept.
pub(crate) struct Kept {
    path: PathBuf,
    file: Option<File>,
}

impl Kept {
    /// Makes the file; one that is there already is not overwritten.
    pub(crate) fn create(path: &Path) -> Run<Self> {
        let file = OpenOptions::new().write(true).create_new(true).open(path);
        let file = file.map_err(|e| match e.kind() {
            std::io::ErrorKind::AlreadyExists => Failure::new(
                Exit::Failed,
                format!("{} exists already; nothing was erased", path.display()),
                "It may be the certificate of something else. Name another file.",
            ),
            _ => {
                let doing = format!("nothing was erased: making the file {}", path.display());
                Failure::io(doing, &e)
            }
        })?;
        Ok(Self { path: path.to_owned(), file: Some(file) })
    }

    /// Writes the certificate, and makes it durable.
    pub(crate) fn write(mut self, certificate: &Certificate) -> Run<()> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        let text = certificate.to_json() + "\n";
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|e| {
            Failure::new(
                Exit::Failed,
                format!("it is erased, but writing {} failed: {e}", self.path.display()),
                format!(
                    "The certificate is in the store too: reelvault deletions --number {}",
                    certificate.statement.number
                ),
            )
        })
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if self.file.is_some() {
            // Nothing was erased: an empty file would look like a proof that was lost.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
