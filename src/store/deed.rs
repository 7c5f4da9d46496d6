//! Changes of the keyring that are written down: each is one generation, one statement, one certificate.

use std::sync::atomic::Ordering::Relaxed;

use crate::crypto::Cipher;
use crate::error::{Error, Result};
use crate::keyring::{Destruction, Next, VersionEnd};
use crate::retention::record::{Certificate, Deed, Receipt, Statement};

use super::Store;
use super::state::Inner;

/// Bytes that are kept in hand so that something can be deleted on a full disk: a keyring and a manifest are written
/// beside the old ones before those are given up.
pub(super) const RESERVE_BYTES: u64 = 4 << 20;
/// The file that holds them.
pub(super) const RESERVE: &str = "reserve";

/// What stands in the log of deletions.
#[derive(Debug, Default)]
pub struct Deletions {
    /// The certificates, oldest first.
    pub certificates: Vec<Certificate>,
    /// What is not as it should be: damage, or statements that are missing.
    pub damage: Vec<Error>,
}

impl Store {
    /// The log of deletions: every erasure, every day that has passed, every hold.
    ///
    /// # Errors
    /// Errors of the system; damage is listed in what is returned.
    pub fn deletions(&self) -> Result<Deletions> {
        let inner = &*self.inner;
        let logged = inner.deletions.read(&inner.log_cipher())?;
        let (mut certificates, mut damage) = (logged.certificates, logged.damage);
        // After the log, so that what a reader found in it is not ahead of what it knows.
        inner.keyring.refresh()?;
        let head = inner.keyring.log_head();
        if let Some(last) = pending(&head, &certificates)? {
            certificates.push(last);
        }
        let (number, digest) =
            certificates.last().map_or((0, [0; 32]), |c| (c.statement.number, c.digest));
        if (number, digest) != (head.count, head.digest) {
            let missing = crate::error::Damage::Malformed("end: statements are missing");
            damage.push(Error::corrupt(crate::retention::log::LOG, 0, missing));
        }
        Ok(Deletions { certificates, damage })
    }
}

/// The last statement, if it is in the keyring and a crash kept it out of the log.
fn pending(head: &crate::keyring::LogHead, logged: &[Certificate]) -> Result<Option<Certificate>> {
    let number = logged.last().map_or(0, |c| c.statement.number);
    if head.count != number + 1 {
        return Ok(None);
    }
    let malformed = |m: crate::format::codec::Malformed| {
        Error::corrupt("keyring", 0, crate::error::Damage::Malformed(m.0))
    };
    Certificate::decode(&head.last).map(Some).map_err(malformed)
}

impl Inner {
    pub(super) fn log_cipher(&self) -> Cipher {
        self.keyring.log_cipher()
    }

    /// Changes the keyring, and writes down what was done. When this returns, the change is in all mirrors, and what it took
    /// away is gone.
    ///
    /// # Errors
    /// As those of the keyring; then nothing has changed in this process. A mirror may have the change all the same, and a process that ends
    /// before it is put back, as maintenance does, leaves it to the next open.
    pub(super) fn commit<T>(
        &self,
        mut deed: impl FnMut(&mut Next) -> Result<(T, Deed)>,
    ) -> Result<(T, Certificate)> {
        let _committing = self.committing.lock();
        // A statement that is not in the log yet is only in the keyring, where the next one takes its place.
        self.with_space(|| {
            self.settle_log_alone()?;
            self.deletions.settle(&self.keyring.log_head(), &self.log_cipher())
        })?;
        let at_ms = self.env.clock.now_ms();
        let (outcome, statement, published) = self.with_space(|| {
            let ((outcome, statement), published) = self.keyring.change(|next| {
                let (outcome, deed) = deed(next)?;
                let head = next.log_head();
                let statement = Statement {
                    store: self.keyring.store_id(),
                    number: head.count + 1,
                    previous: head.digest,
                    at_ms,
                    before: next.before(),
                    after: next.generation(),
                    deed,
                };
                let mut bytes = Vec::new();
                Certificate::new(statement.clone(), Vec::new()).encode(&mut bytes);
                next.record(&bytes, statement.digest());
                Ok((outcome, statement))
            })?;
            Ok((outcome, statement, published))
        })?;
        let receipts = published.destroyed.iter().map(receipt).collect();
        let certificate = Certificate::new(statement, receipts);
        // From here on it is done. What fails now is made good by the next round of maintenance or the next opening.
        let logged = self.with_space(|| self.deletions.append(&certificate, &self.log_cipher()));
        self.log_settled.store(logged.is_ok(), Relaxed);
        *self.unlogged.lock() = logged.is_err().then(|| certificate.clone());
        let _ = self.note_keyring();
        Ok((outcome, certificate))
    }

    /// Brings the last statement from the keyring into the log, if a crash or a full disk has kept it out.
    pub(super) fn settle_log(&self) -> Result<()> {
        if self.log_settled.load(Relaxed) {
            return Ok(());
        }
        // A commit does so, too: twice in the log, it would break the chain for good.
        let _committing = self.committing.lock();
        self.settle_log_alone()
    }

    /// The same, for whoever holds `committing`.
    fn settle_log_alone(&self) -> Result<()> {
        if self.log_settled.load(Relaxed) {
            return Ok(());
        }
        let logged = self.deletions.read(&self.log_cipher())?;
        if let Some(mut last) = pending(&self.keyring.log_head(), &logged.certificates)? {
            let mut unlogged = self.unlogged.lock();
            last = match unlogged.take().filter(|own| own.digest == last.digest) {
                Some(own) => own,
                None => {
                    // Of another process, which a crash ended: its versions were ended when this one opened the store.
                    last.receipts = self.keyring.ended().iter().map(receipt).collect();
                    last
                }
            };
            if let Err(e) = self.deletions.append(&last, &self.log_cipher()) {
                *unlogged = Some(last);
                return Err(e);
            }
        }
        self.log_settled.store(true, Relaxed);
        Ok(())
    }

    /// Does something that needs space, and gives up the reserve for it where the disk is full.
    pub(super) fn with_space<T>(&self, mut act: impl FnMut() -> Result<T>) -> Result<T> {
        match act() {
            Err(Error::DiskFull { .. }) if self.give_up_reserve() => act(),
            outcome => outcome,
        }
    }

    fn give_up_reserve(&self) -> bool {
        self.reserve_kept.store(false, Relaxed);
        let removed = self.env.disk.remove(&self.dir.join(RESERVE)).is_ok();
        removed && self.env.disk.sync_dir(&self.dir).is_ok()
    }

    /// Puts bytes by for the day on which the disk is full.
    pub(super) fn keep_reserve(&self) -> Result<()> {
        use crate::env::Mode;
        let path = self.dir.join(RESERVE);
        let failed = |e| Error::io("keeping a reserve", &path, e);
        if self.reserve_kept.load(Relaxed) {
            return Ok(());
        }
        let whole = self.env.disk.open(&path, Mode::Read).and_then(|file| file.len());
        if whole.is_ok_and(|bytes| bytes == RESERVE_BYTES) {
            self.reserve_kept.store(true, Relaxed);
            return Ok(());
        }
        let write = || -> std::io::Result<()> {
            let file = self.env.disk.open(&path, Mode::Replace)?;
            let zeros = vec![0; 1 << 20];
            for at in (0..RESERVE_BYTES).step_by(zeros.len()) {
                file.write_at(&zeros, at)?;
            }
            file.sync()?;
            self.env.disk.sync_dir(&self.dir)
        };
        write().map_err(|e| {
            let _ = self.env.disk.remove(&path);
            failed(e)
        })
    }
}

fn receipt(end: &VersionEnd) -> Receipt {
    let text = match &end.destruction {
        Ok(Destruction::Destroyed { receipt }) => receipt.clone(),
        Ok(Destruction::Impossible { why }) => (*why).to_owned(),
        Err(why) => why.clone(),
    };
    Receipt { version: end.version, destroyed: end.is_destroyed(), text }
}
