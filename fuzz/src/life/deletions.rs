//! Erasing, holding, releasing, and days that pass.

use reelvault::{Error, Held, Retention, Site};

use super::ledger::{Known, Name};
use super::{Life, visitor};
use crate::{SITES, session_id, site_id};

impl Life {
    pub(super) fn is_erased(&self, name: Name) -> bool {
        self.ledger.sessions.get(&name).is_some_and(|state| state.erased == Known::Yes)
    }

    pub(super) fn may_be_erased(&self, name: Name) -> bool {
        self.ledger.sessions.get(&name).is_some_and(|state| state.erased != Known::No)
    }

    fn set_erased(&mut self, name: Name, known: Known) {
        if let Some(state) = self.ledger.sessions.get_mut(&name)
            && state.erased != Known::Yes
        {
            state.erased = known;
        }
    }

    fn set_held(&mut self, name: Name, known: Known) {
        self.ledger.sessions.entry(name).or_default().held = known;
    }

    fn held(&self, name: Name) -> Known {
        self.ledger.sessions.get(&name).map_or(Known::No, |state| state.held)
    }

    fn site(&mut self, name: Name) -> Site {
        self.store().site(&site_id(name.at)).expect("a site")
    }

    /// Whether the store must know a session.
    fn is_there(&self, name: Name) -> bool {
        let kept = name.expiry_day() > self.today() || self.held(name) == Known::Yes;
        kept && self.ledger.has_acknowledged(name) && !self.may_be_erased(name)
    }

    pub(super) fn erase_session(&mut self, name: Name, refuse: bool) {
        let held = if refuse { Held::Refuse } else { Held::Erase };
        match self.site(name).erase_sessions([session_id(&name.text())], held) {
            Ok(erasure) if erasure.unknown.is_empty() => {
                assert!(!refuse || self.held(name) != Known::Yes || erasure.already == 1, "held");
                self.set_erased(name, Known::Yes);
            }
            Ok(_) => assert!(!self.is_there(name), "{name:?} is not known"),
            Err(Error::Held { .. }) => {
                assert!(refuse && self.held(name) != Known::No, "{name:?} is not held");
            }
            Err(e) => {
                self.failed(&e);
                self.set_erased(name, Known::Perhaps);
            }
        }
    }

    pub(super) fn erase_visitor(&mut self, a: u8, refuse: bool) {
        let (at, n) = (usize::from(a) % SITES.len(), a >> 6 & 1);
        let held = if refuse { Held::Refuse } else { Held::Erase };
        let site = self.store().site(&site_id(at)).expect("a site");
        let erased = site.erase_visitor(&visitor(n), held);
        if matches!(erased, Err(Error::Held { .. })) {
            return;
        }
        let all: Vec<Name> = self.ledger.sessions.keys().copied().collect();
        for name in all.into_iter().filter(|name| name.at == at && name.n % 2 == n) {
            // Of a session that was never acknowledged nobody knows whether there was something to erase.
            let known = erased.is_ok() && self.is_there(name);
            self.set_erased(name, if known { Known::Yes } else { Known::Perhaps });
        }
        match erased {
            Ok(erasure) => assert!(erasure.damage.is_empty()),
            Err(e) => self.failed(&e),
        }
    }

    pub(super) fn hold(&mut self, name: Name) {
        match self.site(name).hold(&session_id(&name.text()), "a dispute") {
            Ok(_) => self.set_held(name, Known::Yes),
            Err(Error::UnknownSession | Error::Expired { .. } | Error::Erased) => {
                assert!(!self.is_there(name), "{name:?} cannot be held");
            }
            Err(Error::Input(_)) => {
                assert!(self.held(name) != Known::No, "{name:?} is not held");
            }
            Err(e) => {
                self.failed(&e);
                if self.held(name) == Known::No {
                    self.set_held(name, Known::Perhaps);
                }
            }
        }
    }

    pub(super) fn release(&mut self, name: Name) {
        match self.site(name).release(&session_id(&name.text())) {
            Ok(_) => self.set_held(name, Known::No),
            Err(Error::UnknownSession) => {
                assert!(self.held(name) != Known::Yes || self.may_be_erased(name), "{name:?}");
            }
            Err(e) => {
                self.failed(&e);
                self.set_held(name, Known::Perhaps);
            }
        }
    }

    /// What was to be kept until today goes.
    pub(super) fn expire(&mut self) {
        let today = self.today();
        match self.store().retention(&Retention::new().trust_clock()) {
            // A held session that cannot be copied keeps its day back.
            Ok(expiry) => self.ledger.passed = self.ledger.passed.max(expiry.day.into()),
            Err(e) => self.failed(&e),
        }
        assert!(self.ledger.passed <= today);
    }
}
