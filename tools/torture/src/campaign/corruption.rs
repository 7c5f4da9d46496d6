//! Rot in every region of every file of a store and of its backups, and units exchanged between sites, sessions and places.
//!
//! Whatever is done to bytes, a reader gets what was sent or an error of its own kind, and what does not depend on the spoiled file is
//! as it was: one mirror of the keyring is enough, a segment harms its own sessions alone, and of a journal that was not ended only the end
//! may be missing without an error.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use reelvault::backup::ReadShare;
use reelvault::env::sim::Survival;
use reelvault::{Error, Recovery, Store};

use crate::broken::{Broken, Outcome, guarded};
use crate::chance::Chance;
use crate::check;
use crate::counts::Counts;
use crate::model::Model;
use crate::step::{Of, Step};
use crate::world::{KEY, MIRRORS, Seeds, World};

use super::Cases;
use super::base::Base;
use super::units;

/// Corruptions of one case.
const CASE: u64 = 64;
/// Regions are spoiled as a whole in steps of this size, too.
const REGION: usize = 64;
const SECTOR: usize = 512;
const SEGMENTS_MORE: usize = 5;
/// So many files of each kind are spoiled at each byte, and later ones at every seventh.
const FILES_WHOLE: usize = 6;

pub(crate) struct Corrupted {
    world: World,
    model: Model,
    files: Vec<Spoilable>,
    all: Vec<Corruption>,
}

/// A file of the store, or an object of its repository.
struct Spoilable {
    name: String,
    bytes: Vec<u8>,
    what: Part,
    /// What may be missing when it is spoiled.
    harms: Harm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// What is not needed to read: the lock, the reserve, a mirror of the keyring beside another.
    Spare,
    /// Without it nothing opens.
    Needed,
    Segment,
    Journal,
    Object,
}

/// What spoiling a file may do to sessions.
#[derive(Default)]
struct Harm {
    /// These may answer an error.
    fail: BTreeSet<Of>,
    /// Of these, these chunks are there whatever happens.
    floor: BTreeMap<Of, Vec<usize>>,
}

/// One way to spoil one place.
#[derive(Debug, Clone, Copy)]
struct Corruption {
    file: usize,
    at: usize,
    how: How,
}

#[derive(Debug, Clone, Copy)]
enum How {
    /// One bit is turned.
    Flip(u8),
    Zeros,
    Noise,
    /// The file ends here.
    Cut,
    /// The sector can't be read.
    Sector,
    /// The sector stands where another should.
    Misplaced(usize),
    /// The bytes of another file of the kind stand here, whole.
    Instead(usize),
    /// Two units change places: of this file and range, and of that one.
    Exchange {
        bytes: usize,
        with: usize,
        from: usize,
    },
    Gone,
}

impl Corrupted {
    pub(crate) fn new(seed: u64) -> Outcome<Self> {
        let seeds = Seeds::new(seed ^ 0xc0de);
        let mut run = Base::new(seed)?.run(&seeds);
        // Blocks of one session in several segments, some of them of one size, so that they can be exchanged.
        for _ in 0..SEGMENTS_MORE {
            for at in 0..2 {
                run.step(Step::Append { of: (at, 1), bytes: 300, deferred: false })?;
            }
            run.step(Step::Archive)?;
        }
        // Journals that were not ended, with frames of one size of several sessions in each.
        for seq in 0..3 {
            for at in 0..2 {
                for n in [0, 1, 3] {
                    let step = Step::Append { of: (at, n), bytes: 300 + seq, deferred: false };
                    run.step(step)?;
                }
            }
        }
        let model = run.model.lock().clone();
        let world = run.world.with_disk(run.world.disk.crash_image(Survival::Everything));
        drop(run);
        let mut corrupted = Self { world, model, files: Vec::new(), all: Vec::new() };
        corrupted.collect()?;
        corrupted.plan(&mut Chance::new(seed));
        Ok(corrupted)
    }

    fn collect(&mut self) -> Outcome {
        for path in self.world.disk.paths() {
            let name = path.to_string_lossy().into_owned();
            let bytes = self.world.disk.file_bytes(&path).unwrap_or_default();
            let what = match &name[..] {
                KEY | "/store/manifest" => Part::Needed,
                _ if name.starts_with("/store/segment/") => Part::Segment,
                _ if name.starts_with("/store/journal/") => Part::Journal,
                _ => Part::Spare,
            };
            let harms = self.harm(&path, what)?;
            self.files.push(Spoilable { name, bytes, what, harms });
        }
        for (name, bytes) in self.world.bucket.objects() {
            let (bytes, what) = (bytes.to_vec(), Part::Object);
            self.files.push(Spoilable { name, bytes, what, harms: Harm::default() });
        }
        Ok(())
    }

    /// Sees what a file is good for by taking it away.
    fn harm(&self, path: &PathBuf, what: Part) -> Outcome<Harm> {
        let mut harm = Harm::default();
        let disk = self.world.disk.crash_image(Survival::Everything);
        let spoiled = match what {
            Part::Segment => disk.remove_file(path),
            Part::Journal => {
                // Nothing of it but its head.
                let page = disk.file_bytes(path).map(|bytes| {
                    let mut page = bytes[..4_096].to_vec();
                    page.resize(bytes.len(), 0);
                    page
                });
                page.and_then(|page| disk.write_file(path, &page))
            }
            _ => return Ok(harm),
        };
        spoiled.map_err(|e| Broken::new(format!("spoiling {}: {e}", path.display())))?;
        let world = self.world.with_disk(disk);
        let Ok(store) = world.open_read_only(Recovery::Strict) else { return Ok(harm) };
        for (of, told) in &self.model.sessions {
            match check::found(&store, *of, told)? {
                Ok(found) if found.len() < told.kept => drop(harm.floor.insert(*of, found)),
                Ok(_) => {}
                Err(Error::UnknownSession) if told.kept > 0 => {
                    harm.floor.insert(*of, Vec::new());
                }
                Err(_) => drop(harm.fail.insert(*of)),
            }
        }
        Ok(harm)
    }

    fn plan(&mut self, chance: &mut Chance) {
        self.exchanges();
        let mut of_kind = BTreeMap::<String, usize>::new();
        for (file, spoilable) in self.files.iter().enumerate() {
            let seen = of_kind.entry(kind(&spoilable.name)).or_default();
            *seen += 1;
            let step = if *seen > FILES_WHOLE { 7 } else { 1 };
            let bytes = &spoilable.bytes;
            let add = |at, how| Corruption { file, at, how };
            let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
            // Behind what is used there are only zeros: there, one byte of each sector.
            let each = (0..used).step_by(step).chain((used..bytes.len()).step_by(SECTOR));
            let each = each.filter(|at| *at < 64 << 10);
            self.all.extend(each.map(|at| add(at, How::Flip(chance.below(8) as u8))));
            for at in (0..used).step_by(REGION) {
                self.all.extend([How::Zeros, How::Noise, How::Cut].map(|how| add(at, how)));
            }
            for at in (0..used).step_by(SECTOR) {
                let other = chance.below(used as u64 + 1) as usize / SECTOR * SECTOR;
                self.all.extend([How::Sector, How::Misplaced(other)].map(|how| add(at, how)));
            }
            self.all.push(add(0, How::Gone));
        }
        for (file, one) in self.files.iter().enumerate() {
            for (other, two) in self.files.iter().enumerate() {
                if file != other && kind(&one.name) == kind(&two.name) {
                    self.all.push(Corruption { file, at: 0, how: How::Instead(other) });
                }
            }
        }
    }

    /// Every pair of units of one kind of file, wherever the two are.
    fn exchanges(&mut self) {
        let mut all = Vec::new();
        for (file, spoilable) in self.files.iter().enumerate() {
            let of_journal = spoilable.what == Part::Journal;
            let found = if of_journal { units::frames } else { units::units };
            all.extend(found(&spoilable.bytes).into_iter().map(|range| (file, range, of_journal)));
        }
        for (n, (file, one, of_journal)) in all.iter().enumerate() {
            for (other, two, _) in all[n + 1..].iter().filter(|(_, _, also)| also == of_journal) {
                let (bytes, from) = (one.len().min(two.len()), two.start);
                let how = How::Exchange { bytes, with: *other, from };
                self.all.push(Corruption { file: *file, at: one.start, how });
            }
        }
    }
}

/// Files of one kind may be put in each other's place.
fn kind(name: &str) -> String {
    let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
    if MIRRORS.contains(&name) { "keyring".to_owned() } else { folder.to_owned() }
}

impl Cases for Corrupted {
    fn number(&self) -> Option<u64> {
        Some((self.all.len() as u64).div_ceil(CASE))
    }

    fn run(&mut self, case: u64, counts: &mut Counts) -> Outcome {
        let from = (case * CASE) as usize;
        for corruption in self.all.iter().skip(from).take(CASE as usize) {
            counts.one("corruptions");
            let told = |broken: Broken| {
                broken.during(format!("{} {corruption:?}", self.files[corruption.file].name))
            };
            guarded(|| self.spoil_and_look(*corruption, counts)).map_err(told)?;
        }
        Ok(())
    }

    fn tell(&self, case: u64) -> String {
        let first = self.all.get((case * CASE) as usize);
        first.map_or_else(String::new, |c| {
            format!("{} {c:?} and what follows", self.files[c.file].name)
        })
    }
}

impl Corrupted {
    fn spoil_and_look(&self, corruption: Corruption, counts: &mut Counts) -> Outcome {
        let world = self.world.with_disk(self.world.disk.crash_image(Survival::Everything));
        let mut spoiled = vec![corruption.file];
        let failed = |e: std::io::Error| Broken::new(format!("spoiling: {e}"));
        match corruption.how {
            How::Gone => self.take_away(&world, corruption.file).map_err(failed)?,
            How::Sector => {
                let file = &self.files[corruption.file];
                if file.what == Part::Object {
                    return Ok(());
                }
                world.disk.lose_sector(&file.name, corruption.at as u64).map_err(failed)?;
            }
            How::Exchange { with, .. } => {
                for (file, bytes) in self.exchanged(corruption) {
                    self.put(&world, file, &bytes).map_err(failed)?;
                }
                spoiled.push(with);
            }
            _ => {
                let bytes = self.spoiled(corruption);
                if bytes == self.files[corruption.file].bytes {
                    return Ok(());
                }
                self.put(&world, corruption.file, &bytes).map_err(failed)?;
            }
        }
        if self.files[corruption.file].what == Part::Object {
            return self.look_at_repository(&world, corruption, counts);
        }
        self.look_at_store(&world, &spoiled, corruption.at, counts)
    }

    fn spoiled(&self, corruption: Corruption) -> Vec<u8> {
        let mut bytes = self.files[corruption.file].bytes.clone();
        let at = corruption.at;
        let end = (at + REGION).min(bytes.len());
        match corruption.how {
            How::Flip(bit) => bytes[at] ^= 1 << bit,
            How::Zeros => bytes[at..end].fill(0),
            How::Noise => {
                let mut chance = Chance::of(at as u64, corruption.file as u64);
                bytes[at..end].iter_mut().for_each(|b| *b = chance.next() as u8);
            }
            How::Cut => bytes.truncate(at),
            How::Misplaced(other) => {
                let from = bytes[other..(other + SECTOR).min(bytes.len())].to_vec();
                let n = from.len().min(bytes.len() - at);
                bytes[at..at + n].copy_from_slice(&from[..n]);
            }
            How::Instead(other) => bytes.clone_from(&self.files[other].bytes),
            How::Sector | How::Exchange { .. } | How::Gone => {}
        }
        bytes
    }

    /// The two files, or the one, in which two units have changed places.
    fn exchanged(&self, corruption: Corruption) -> BTreeMap<usize, Vec<u8>> {
        let How::Exchange { bytes: n, with, from, .. } = corruption.how else {
            return BTreeMap::new();
        };
        let (file, at) = (corruption.file, corruption.at);
        let mut files: BTreeMap<usize, Vec<u8>> =
            [file, with].map(|file| (file, self.files[file].bytes.clone())).into();
        let one = self.files[file].bytes[at..at + n].to_vec();
        let two = self.files[with].bytes[from..from + n].to_vec();
        for (file, at, unit) in [(file, at, two), (with, from, one)] {
            let Some(bytes) = files.get_mut(&file) else { continue };
            bytes[at..at + n].copy_from_slice(&unit);
            if self.files[file].what == Part::Journal {
                units::repair_frame(bytes, at);
            }
        }
        files
    }

    fn put(&self, world: &World, file: usize, bytes: &[u8]) -> std::io::Result<()> {
        let file = &self.files[file];
        match file.what {
            Part::Object => {
                world.bucket.spoil(&file.name, bytes);
                Ok(())
            }
            _ => world.disk.write_file(&file.name, bytes),
        }
    }

    fn take_away(&self, world: &World, file: usize) -> std::io::Result<()> {
        let file = &self.files[file];
        match file.what {
            Part::Object => {
                world.bucket.lose(&file.name);
                Ok(())
            }
            _ => world.disk.remove_file(&file.name),
        }
    }

    fn look_at_store(
        &self,
        world: &World,
        spoiled: &[usize],
        at: usize,
        counts: &mut Counts,
    ) -> Outcome {
        let parts = || spoiled.iter().map(|file| self.files[*file].what);
        let written = || world.with_disk(world.disk.kill_image()).open();
        // Half are opened for writing, as the service would after the accident.
        let opened = match at % 2 {
            0 => world.open_read_only(Recovery::Strict),
            _ => written(),
        };
        let store = match opened {
            Ok(store) => store,
            Err(e) => {
                typed(&e)?;
                counts.one("refused");
                if parts().all(|part| matches!(part, Part::Spare | Part::Segment)) {
                    // A writer touches no mirror that is not a keyring, or can't be read. Readers take the other.
                    let store = world.open_read_only(Recovery::Strict);
                    let store = store.map_err(|e| Broken::new(format!("it does not open: {e}")))?;
                    return self.look_at_sessions(&store, |_| false, |_| None).map(drop);
                }
                // What salvage shows is what was sent.
                if let Ok(store) = world.open_read_only(Recovery::Salvage) {
                    counts.one("salvaged");
                    self.look_at_sessions(&store, |_| true, |_| Some(Vec::new()))?;
                }
                return Ok(());
            }
        };
        let may_fail =
            |of: Of| spoiled.iter().any(|file| self.files[*file].harms.fail.contains(&of));
        let floor = |of: Of| {
            let floors = spoiled.iter().filter_map(|file| self.files[*file].harms.floor.get(&of));
            let both = |one: Vec<usize>, other: &Vec<usize>| {
                one.into_iter().filter(|seq| other.contains(seq)).collect()
            };
            floors.fold(None, |all, one| Some(all.map_or(one.clone(), |all| both(all, one))))
        };
        let whole = self.look_at_sessions(&store, may_fail, floor)?;
        counts.one(if whole { "without effect" } else { "told" });
        store.deletions().map(drop).or_else(|e| typed(&e))
    }

    /// Whether all sessions are whole. Those that may fail answer an error of its own kind, if they do.
    fn look_at_sessions(
        &self,
        store: &Store,
        may_fail: impl Fn(Of) -> bool,
        floor: impl Fn(Of) -> Option<Vec<usize>>,
    ) -> Outcome<bool> {
        let mut whole = true;
        for (of, told) in self.model.sessions.iter().filter(|(of, _)| self.model.is_kept(**of)) {
            let floor = floor(*of);
            let is_shortened = |found: &[usize]| {
                floor.as_ref().is_some_and(|floor| floor.iter().all(|seq| found.contains(seq)))
            };
            match check::found(store, *of, told)? {
                Ok(found) if found.len() >= told.kept => {}
                Ok(found) if is_shortened(&found) => whole = false,
                Err(Error::UnknownSession) if is_shortened(&[]) => whole = false,
                Ok(found) => {
                    let what =
                        format!("{of:?} has {found:?} of {} chunks, and no error", told.kept);
                    return Err(Broken::new(what));
                }
                Err(e) if may_fail(*of) || floor.is_some() => {
                    typed(&e)?;
                    whole = false;
                }
                Err(e) => return Err(Broken::new(format!("{of:?}: {e}"))),
            }
        }
        Ok(whole)
    }

    fn look_at_repository(
        &self,
        world: &World,
        corruption: Corruption,
        counts: &mut Counts,
    ) -> Outcome {
        let repository = match world.repository() {
            Ok(repository) => repository,
            Err(e) => {
                counts.one("refused");
                return typed(&e);
            }
        };
        let checked = repository.check(ReadShare::All, &|_| true);
        let told = match &checked {
            Ok(checked) => {
                checked.damage.iter().try_for_each(typed)?;
                !checked.damage.is_empty()
            }
            Err(e) => {
                typed(e)?;
                true
            }
        };
        let name = &self.files[corruption.file].name;
        let is_named = ["/segment/", "/piece/", "/snapshot/", "/list/"];
        // One that is gone without a trace is no damage: nobody can tell that there was a snapshot.
        let traceless = matches!(corruption.how, How::Gone) && name.contains("/snapshot/");
        if !told && !traceless && is_named.iter().any(|folder| name.contains(folder)) {
            return Err(Broken::new("the check of the repository finds nothing"));
        }
        counts.one(if told { "told" } else { "without effect" });
        for number in self.model.snapshots.iter().map(|snap| snap.number) {
            match repository.open_snapshot(number) {
                Ok(store) => drop(self.look_at_sessions(&store, |_| true, |_| Some(Vec::new()))?),
                Err(Error::NoSnapshot(_)) if told || traceless => {}
                Err(e) => typed(&e)?,
            }
        }
        Ok(())
    }
}

/// Damage is told by an error of its own kind.
fn typed(e: &Error) -> Outcome {
    match e {
        Error::Corrupt(_)
        | Error::Unsupported { .. }
        | Error::WrongKey(_)
        | Error::MissingKeyVersion(_)
        | Error::NoRepository(_)
        | Error::NoStore(_) => Ok(()),
        // A sector that can't be read, or a file that is gone.
        Error::Io { .. } => Ok(()),
        e => Err(Broken::new(format!("not an error of damage: {e:?}"))),
    }
}
