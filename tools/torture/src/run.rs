//! Doing steps on a store, and writing down in the model what was begun and what was acknowledged.

use std::sync::Arc;

use parking_lot::Mutex;
use reelvault::backup::{Backup, How, Keep};
use reelvault::{
    Chunk, Durability, Error, Held as WhenHeld, Result, Retention, Session, SessionId, Site,
    SiteId, Store, VisitorId,
};

use crate::broken::{Broken, Outcome};
use crate::check;
use crate::model::{Fate, Held, Model, Snap};
use crate::step::{Of, SESSIONS, SITES, Step};
use crate::world::{STORE, World};

const DAY_MS: u64 = 86_400_000;

/// A store that is used, and what must be true of it.
pub(crate) struct Run {
    pub(crate) world: World,
    /// Shared with those who take images in the middle of a step.
    pub(crate) model: Arc<Mutex<Model>>,
    pub(crate) store: Option<Store>,
    /// Whether steps may fail because of what is done to the machine.
    pub(crate) may_fail: bool,
    /// Whether reads may show what does not stand there: then a session may be in parts, see [`check::in_parts`].
    pub(crate) may_lie: bool,
    /// Errors that were answered.
    pub(crate) errors: u64,
}

pub(crate) fn site_id(at: u8) -> Result<SiteId> {
    SiteId::new(SITES[usize::from(at)]).map_err(Error::from)
}

pub(crate) fn session_id(of: Of) -> Result<SessionId> {
    SessionId::new(format!("s{}-{}", of.0, of.1)).map_err(Error::from)
}

fn session(of: Of) -> Result<Session> {
    let (days, visitor) = SESSIONS[usize::from(of.1)];
    let session = Session::new(session_id(of)?).visitor(VisitorId::new(visitor)?);
    Ok(session.retention_days(days)?)
}

fn nobody_watches(_: reelvault::backup::Progress) -> bool {
    true
}

impl Run {
    pub(crate) fn new(world: World, model: Model) -> Self {
        let model = Arc::new(Mutex::new(model));
        Self { world, model, store: None, may_fail: false, may_lie: false, errors: 0 }
    }

    /// A machine with an empty store of all sites, closed.
    pub(crate) fn create(world: World) -> Result<Self> {
        let store = Store::create(world.options()?)?;
        for at in 0..SITES.len() {
            store.add_site(site_id(at as u8)?, 30)?;
        }
        store.close()?;
        Ok(Self::new(world, Model::new()))
    }

    /// Does a step. An error is one only if nothing is done to the machine, or if it is of a kind that no fault explains.
    pub(crate) fn step(&mut self, step: Step) -> Outcome {
        let done = self.try_step(step);
        crate::trace(|| format!("{step:?}: {done:?}"));
        match done {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => {
                self.model.lock().resend();
                self.errors += 1;
                if self.may_fail { Ok(()) } else { Err(Broken::new(format!("{step:?}: {e}"))) }
            }
            Err(broken) => Err(broken.during(format!("{step:?}"))),
        }
    }

    /// The store, opened if it is not.
    pub(crate) fn open(&mut self) -> Result<&Store> {
        let store = match self.store.take() {
            Some(store) => store,
            None => self.world.open()?,
        };
        Ok(self.store.insert(store))
    }

    fn site(&mut self, at: u8) -> Result<Site> {
        self.open()?.site(&site_id(at)?)
    }

    /// Whether the store answered, inside of whether it keeps its promises.
    fn try_step(&mut self, step: Step) -> Outcome<Result<()>> {
        let done = match step {
            Step::Append { of, bytes, deferred } => return self.append(of, bytes, deferred),
            Step::Look => return self.look(),
            Step::Again(of) => return self.again(of),
            Step::Sync => self.open().and_then(Store::sync).map(|()| self.synced()),
            // Only a sync tells of chunks that nobody waited for and that a full disk has taken.
            Step::Maintain => self.open().and_then(Store::maintain),
            Step::Archive => self.open().and_then(Store::archive).map(|()| self.synced()),
            Step::Erase(of) => self.erase(of),
            Step::EraseVisitor(at, visitor) => self.erase_visitor(at, visitor),
            Step::EraseSite(at) => self.erase_site(at),
            Step::Hold(of) => self.hold(of),
            Step::Release(of) => self.release(of),
            Step::Expire { hours } => self.expire(hours),
            Step::Pass { hours } => {
                self.pass(hours);
                Ok(())
            }
            Step::Rotate => self.open().and_then(Store::rotate_keys).map(drop),
            Step::Reclaim => self.open().and_then(|store| store.reclaim(0.0)).map(drop),
            Step::Backup => self.backup(),
            Step::Prune => self.prune(),
            Step::Reopen => self.reopen(),
        };
        Ok(done)
    }

    fn synced(&self) {
        self.model.lock().synced();
    }

    fn append(&mut self, of: Of, bytes: u32, deferred: bool) -> Outcome<Result<()>> {
        let (today, now_ms) = (self.world.today(), self.world.now_ms());
        let (refused, takes) = {
            let model = self.model.lock();
            let told = model.sessions.get(&of);
            (told.is_some_and(|t| t.erased), model.takes_chunks(of, today))
        };
        if !takes && !refused {
            return Ok(Ok(()));
        }
        let site_gone = self.model.lock().sites[usize::from(of.0)] != Fate::Kept;
        let site = match self.site(of.0) {
            Err(Error::Erased) if site_gone => return Ok(Ok(())),
            Err(e) => return Ok(Err(e)),
            Ok(site) => site,
        };
        if site_gone {
            return Ok(Ok(()));
        }
        let (seq, ms, events) = self.model.lock().send(of, bytes, now_ms);
        let chunk = Chunk {
            seq: seq as u64,
            first_ms: ms,
            last_ms: ms,
            events: (&*events).into(),
            snapshots: Vec::new(),
        };
        let durability = if deferred { Durability::Deferred } else { Durability::Synced };
        let appended =
            session(of).and_then(|session| site.append_with(&session, &chunk, durability));
        match appended {
            Ok(_) if refused => Err(Broken::new("a session that was erased takes chunks")),
            Err(Error::Erased | Error::Expired { .. }) if refused => Ok(Ok(())),
            Ok(_) => {
                self.model.lock().appended(of, seq, !deferred);
                Ok(Ok(()))
            }
            Err(e) => Ok(Err(e)),
        }
    }

    /// Sends the first chunk of a session once more: it is known, wherever it stands by now.
    fn again(&mut self, of: Of) -> Outcome<Result<()>> {
        let today = self.world.today();
        let first = {
            let model = self.model.lock();
            let takes = model.is_kept(of) && model.takes_chunks(of, today);
            let told = model.sessions.get(&of).filter(|told| takes && told.kept > 0);
            told.map(|told| (told.start_ms, Arc::clone(&told.sent[0])))
        };
        let Some((ms, events)) = first else { return Ok(Ok(())) };
        let site = match self.site(of.0) {
            Ok(site) => site,
            Err(e) => return Ok(Err(e)),
        };
        let chunk = Chunk {
            seq: 0,
            first_ms: ms,
            last_ms: ms,
            events: (&*events).into(),
            snapshots: Vec::new(),
        };
        match session(of).and_then(|session| site.append(&session, &chunk)) {
            Ok(appended) if !appended.duplicate && !self.may_lie => {
                Err(Broken::new("a chunk that was acknowledged is taken for a new one"))
            }
            appended => Ok(appended.map(drop)),
        }
    }

    fn erase(&mut self, of: Of) -> Result<()> {
        if self.model.lock().sites[usize::from(of.0)] != Fate::Kept {
            return Ok(());
        }
        let site = self.site(of.0)?;
        self.model.lock().going(|other| other == of);
        // Also where an index can't be read: what is left of the session follows from its id.
        site.erase_sessions([session_id(of)?], WhenHeld::Erase)?;
        self.model.lock().erased(|other| other == of);
        Ok(())
    }

    fn erase_visitor(&mut self, at: u8, visitor: &str) -> Result<()> {
        if self.model.lock().sites[usize::from(at)] != Fate::Kept {
            return Ok(());
        }
        let site = self.site(at)?;
        let theirs = |of: Of| of.0 == at && SESSIONS[usize::from(of.1)].1 == visitor;
        self.model.lock().going(theirs);
        let erasure = site.erase_visitor(&VisitorId::new(visitor)?, WhenHeld::Erase)?;
        if let Some(damage) = erasure.damage.into_iter().next() {
            return Err(damage);
        }
        // Of those whose retention has ended, nothing may be left to be found.
        let today = self.world.today();
        let mut model = self.model.lock();
        let over: Vec<Of> =
            model.sessions.keys().filter(|of| model.is_over(**of, today)).copied().collect();
        let is_held = |of: Of| model.sessions.get(&of).is_some_and(|told| told.held != Held::No);
        let over: Vec<Of> = over.into_iter().filter(|of| !is_held(*of)).collect();
        model.erased(|of| theirs(of) && !over.contains(&of));
        Ok(())
    }

    fn erase_site(&mut self, at: u8) -> Result<()> {
        if self.model.lock().sites[usize::from(at)] == Fate::Gone {
            return Ok(());
        }
        let site = site_id(at)?;
        self.open()?;
        {
            let mut model = self.model.lock();
            model.sites[usize::from(at)] = Fate::Going;
            model.going(|of| of.0 == at);
        }
        match self.open()?.erase_site(&site, WhenHeld::Erase) {
            // An attempt before may have done it.
            Ok(_) | Err(Error::Erased) => {}
            Err(e) => return Err(e),
        }
        let mut model = self.model.lock();
        model.sites[usize::from(at)] = Fate::Gone;
        model.erased(|of| of.0 == at);
        Ok(())
    }

    fn hold(&mut self, of: Of) -> Result<()> {
        let today = self.world.today();
        let is_free = {
            let model = self.model.lock();
            let told = model.sessions.get(&of);
            told.is_some_and(|t| t.kept > 0 && t.held == Held::No)
                && model.takes_chunks(of, today)
                && model.is_kept(of)
        };
        if !is_free {
            return Ok(());
        }
        let site = self.site(of.0)?;
        self.set_held(of, Held::Maybe);
        site.hold(&session_id(of)?, "a reason")?;
        self.set_held(of, Held::Yes);
        Ok(())
    }

    fn release(&mut self, of: Of) -> Result<()> {
        let today = self.world.today();
        if self.model.lock().sessions.get(&of).is_none_or(|told| told.held != Held::Yes) {
            return Ok(());
        }
        let site = self.site(of.0)?;
        {
            let mut model = self.model.lock();
            let over = model.is_over(of, today);
            if over {
                model.going(|other| other == of);
            }
        }
        self.set_held(of, Held::Maybe);
        site.release(&session_id(of)?)?;
        self.set_held(of, Held::No);
        Ok(())
    }

    fn set_held(&self, of: Of, held: Held) {
        if let Some(told) = self.model.lock().sessions.get_mut(&of) {
            told.held = held;
        }
    }

    fn pass(&mut self, hours: u64) {
        // The model first: from now on, what is over may go at any time.
        let then = self.world.now_ms() + hours * 3_600_000;
        self.model.lock().day_begins((then / DAY_MS) as u32);
        self.world.pass_ms(hours * 3_600_000);
    }

    fn expire(&mut self, hours: u64) -> Result<()> {
        self.pass(hours);
        // A held session that can't be copied, on a full disk say, keeps its day back.
        let through = self.open()?.retention(&Retention::new().trust_clock())?.day;
        self.model.lock().expired(through);
        Ok(())
    }

    fn backup(&mut self) -> Result<()> {
        self.open()?;
        let floor = self.model.lock().floor();
        let repository = self.world.repository()?;
        let done = Backup::new(&repository, STORE)?.run(&How::default(), &nobody_watches)?;
        if let Some(damage) = done.damage.into_iter().next() {
            return Err(damage);
        }
        if let Some(number) = done.snapshot {
            self.model.lock().snapshots.push(Snap { number, kept: floor });
        }
        Ok(())
    }

    /// Prunes twice, a day apart: what the first one marks, the second one removes.
    fn prune(&mut self) -> Result<()> {
        let repository = self.world.repository()?;
        let keep = Keep { last: 2, ..Keep::default() };
        self.model.lock().pruned = true;
        for _ in 0..2 {
            repository.prune(&keep, DAY_MS, false)?;
            self.pass(25);
        }
        let (there, _) = repository.snapshots()?;
        let mut model = self.model.lock();
        model.snapshots.retain(|snap| there.iter().any(|found| found.number == snap.number));
        Ok(())
    }

    fn reopen(&mut self) -> Result<()> {
        if let Some(store) = self.store.take() {
            store.close()?;
            self.synced();
        }
        self.open().map(drop)
    }

    fn look(&mut self) -> Outcome<Result<()>> {
        if let Err(e) = self.open() {
            return Ok(Err(e));
        }
        let Some(store) = &self.store else { return Ok(Ok(())) };
        let model = self.model.lock().clone();
        match self.may_lie {
            true => check::contents(store, &model).map(Ok),
            false => check::sessions(store, &model, self.may_fail).map(Ok),
        }
    }

    /// After a crash: the store is opened, and what was in the balance is looked at. From then on it may not change by itself.
    pub(crate) fn settle(&mut self) -> Outcome {
        self.model.lock().resend();
        self.open().map_err(|e| Broken::new(format!("opening: {e}")))?;
        let Some(store) = &self.store else { return Ok(()) };
        let today = self.world.today();
        let mut model = self.model.lock();
        for at in 0..SITES.len() as u8 {
            if model.sites[usize::from(at)] == Fate::Going {
                let gone = matches!(store.site(&site_id(at)?), Err(Error::Erased));
                model.sites[usize::from(at)] = if gone { Fate::Gone } else { Fate::Kept };
                if gone {
                    model.erased(|of| of.0 == at);
                }
            }
        }
        let all: Vec<Of> = model.sessions.keys().copied().collect();
        for of in all {
            let Ok(site) = store.site(&site_id(of.0)?) else { continue };
            let holds = site.holds()?;
            let name = session_id(of)?;
            let (over, found) = (model.is_over(of, today), site.session(&name));
            let Some(told) = model.sessions.get_mut(&of) else { continue };
            if told.held == Held::Maybe {
                let is_held = holds.iter().any(|hold| hold.session == name);
                told.held = if is_held { Held::Yes } else { Held::No };
                if is_held {
                    told.fate = Fate::Kept;
                }
            }
            if matches!(told.fate, Fate::Going | Fate::Ending) {
                match found {
                    // Its file may have gone before its day, on a full disk; in backups it is readable until that goes, too.
                    Ok(_) | Err(Error::UnknownSession | Error::Expired { .. }) if over => {}
                    Ok(_) => told.fate = Fate::Kept,
                    Err(Error::Erased) => {
                        (told.fate, told.erased) = (Fate::Gone, told.kept > 0);
                    }
                    // Not a chunk of it was acknowledged.
                    Err(Error::UnknownSession) => told.fate = Fate::Kept,
                    Err(e) => return Err(Broken::new(format!("{of:?}: {e}"))),
                }
            }
        }
        Ok(())
    }
}
