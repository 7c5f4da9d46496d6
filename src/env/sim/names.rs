//! The directory tree: the names that programs see, those that are durable, and what lies between.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path};
use std::sync::Arc;

use super::survival::{Chooser, Order, Survival};

/// The number of a file or directory.
pub(super) type Ino = u64;
/// The directory that everything is in.
pub(super) const ROOT: Ino = 0;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    File(Ino),
    Dir(Ino),
}

/// A place in a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    dir: Ino,
    name: Arc<str>,
}

#[derive(Clone)]
enum Change {
    Link(Place, Node),
    Unlink(Place),
    Rename(Place, Place, Node),
}

type Dir = BTreeMap<Arc<str>, Node>;
type Tree = BTreeMap<Ino, Arc<Dir>>;

/// All names of a disk.
#[derive(Clone)]
pub(super) struct Names {
    cached: Tree,
    durable: Tree,
    pending: Vec<(u64, Change)>,
}

impl Names {
    pub(super) fn new() -> Self {
        let tree = Tree::from([(ROOT, Arc::default())]);
        Self { cached: tree.clone(), durable: tree, pending: Vec::new() }
    }

    /// The directory that a path names.
    pub(super) fn dir(&self, path: &Path) -> io::Result<Ino> {
        let mut at = ROOT;
        for name in parts(path)? {
            match self.cached.get(&at).and_then(|dir| dir.get(name)) {
                Some(Node::Dir(dir)) => at = *dir,
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => return Err(io::ErrorKind::NotFound.into()),
            }
        }
        Ok(at)
    }

    /// The place that a path names in a directory that exists.
    pub(super) fn place(&self, path: &Path) -> io::Result<Place> {
        let name = parts(path)?.pop().ok_or(io::ErrorKind::InvalidInput)?;
        let dir = self.dir(path.parent().unwrap_or(Path::new("")))?;
        Ok(Place { dir, name: name.into() })
    }

    pub(super) fn at(&self, place: &Place) -> Option<Node> {
        self.cached.get(&place.dir)?.get(&place.name).copied()
    }

    /// The file at a place.
    pub(super) fn file(&self, place: &Place) -> io::Result<Ino> {
        match self.at(place) {
            Some(Node::File(ino)) => Ok(ino),
            Some(Node::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn list(&self, dir: Ino) -> impl Iterator<Item = (&Arc<str>, Node)> {
        self.cached
            .get(&dir)
            .into_iter()
            .flat_map(|dir| dir.iter())
            .map(|(name, node)| (name, *node))
    }

    pub(super) fn link(&mut self, number: u64, place: Place, node: Node) {
        self.change(number, Change::Link(place, node));
    }

    pub(super) fn unlink(&mut self, number: u64, place: Place) {
        self.change(number, Change::Unlink(place));
    }

    pub(super) fn rename(&mut self, number: u64, from: Place, to: Place) {
        if let Some(node) = self.at(&from)
            && from != to
        {
            self.change(number, Change::Rename(from, to, node));
        }
    }

    fn change(&mut self, number: u64, change: Change) {
        change.apply(&mut self.cached);
        self.pending.push((number, change));
    }

    /// Makes the changes of a directory durable; and what they stand on elsewhere, because a rename
    /// between directories is one change.
    pub(super) fn sync(&mut self, dir: Ino) {
        let mut dirs = BTreeSet::from([dir]);
        let mut due = vec![false; self.pending.len()];
        for (due, (_, change)) in due.iter_mut().zip(&self.pending).rev() {
            if change.places().any(|place| dirs.contains(&place.dir)) {
                *due = true;
                dirs.extend(change.places().map(|place| place.dir));
            }
        }
        let mut due = due.into_iter();
        let durable = &mut self.durable;
        self.pending.retain(|(_, change)| {
            let due = due.next().unwrap_or(false);
            if due {
                change.apply(durable);
            }
            !due
        });
    }

    /// Makes all changes durable.
    pub(super) fn settle(&mut self) {
        self.durable = self.cached.clone();
        self.pending.clear();
    }

    /// The tree after a power cut.
    pub(super) fn survivor(&self, chooser: &mut Chooser) -> Self {
        let mut tree = self.durable.clone();
        let (order, chances) = chooser.directories();
        let needed = match chooser.survival() {
            Survival::Only(number) => self.stands_on(number),
            _ => Vec::new(),
        };
        let mut lost = BTreeSet::new();
        for (i, (number, change)) in self.pending.iter().enumerate() {
            let keeps =
                chooser.keeps_change(*number, chances) || needed.get(i).is_some_and(|kept| *kept);
            let mut keys = change.places().map(|place| match order {
                Order::Directory => (place.dir, None),
                Order::Name => (place.dir, Some(&place.name)),
            });
            if keeps && !keys.clone().any(|key| lost.contains(&key)) {
                change.apply(&mut tree);
            } else {
                lost.extend(&mut keys);
            }
        }
        let mut reachable = Tree::new();
        reach(&tree, ROOT, &mut reachable);
        Self { cached: reachable.clone(), durable: reachable, pending: Vec::new() }
    }

    /// What [`Survival::Only`] keeps: a change with all that it stands on. A write stands on the name
    /// of its file; to keep every name is simpler and shows the write more often.
    fn stands_on(&self, number: u64) -> Vec<bool> {
        let mut needed = vec![true; self.pending.len()];
        if !self.pending.iter().any(|(other, _)| *other == number) {
            return needed;
        }
        let mut places = BTreeSet::new();
        for (needed, (other, change)) in needed.iter_mut().zip(&self.pending).rev() {
            *needed = *other == number || change.places().any(|place| places.contains(place));
            if *needed {
                places.extend(change.places());
            }
        }
        needed
    }

    /// The operations that are not yet durable, in order.
    pub(super) fn pending_operations(&self) -> impl Iterator<Item = u64> {
        self.pending.iter().map(|(number, _)| *number)
    }

    /// Files that have a name, or could have one after a power cut.
    pub(super) fn files(&self) -> BTreeSet<Ino> {
        let pending = self.pending.iter().filter_map(|(_, change)| match change {
            Change::Link(_, node) | Change::Rename(_, _, node) => Some(*node),
            Change::Unlink(_) => None,
        });
        named(&self.cached)
            .chain(named(&self.durable))
            .chain(pending)
            .filter_map(Node::file)
            .collect()
    }

    /// Files that have a name.
    pub(super) fn cached_files(&self) -> impl Iterator<Item = Ino> {
        named(&self.cached).filter_map(Node::file)
    }

    /// A new and empty directory, not yet linked anywhere.
    pub(super) fn add_dir(&mut self, ino: Ino) {
        self.cached.insert(ino, Arc::default());
        self.durable.insert(ino, Arc::default());
    }
}

impl Node {
    fn file(self) -> Option<Ino> {
        match self {
            Self::File(ino) => Some(ino),
            Self::Dir(_) => None,
        }
    }
}

impl Change {
    fn apply(&self, tree: &mut Tree) {
        let mut edit = |place: &Place, node: Option<Node>| {
            if let Some(dir) = tree.get_mut(&place.dir) {
                let dir = Arc::make_mut(dir);
                match node {
                    Some(node) => drop(dir.insert(Arc::clone(&place.name), node)),
                    None => drop(dir.remove(&place.name)),
                }
            }
        };
        match self {
            Self::Link(place, node) => edit(place, Some(*node)),
            Self::Unlink(place) => edit(place, None),
            Self::Rename(from, to, node) => {
                edit(from, None);
                edit(to, Some(*node));
            }
        }
    }

    fn places(&self) -> impl Iterator<Item = &Place> + Clone {
        let (first, second) = match self {
            Self::Link(place, _) | Self::Unlink(place) => (place, None),
            Self::Rename(from, to, _) => (from, Some(to)),
        };
        std::iter::once(first).chain(second)
    }
}

fn named(tree: &Tree) -> impl Iterator<Item = Node> {
    tree.values().flat_map(|dir| dir.values()).copied()
}

fn reach(tree: &Tree, at: Ino, found: &mut Tree) {
    let Some(dir) = tree.get(&at) else { return };
    found.insert(at, Arc::clone(dir));
    for node in dir.values() {
        if let Node::Dir(child) = node {
            reach(tree, *child, found);
        }
    }
}

/// The names in a path. There is no working directory, so a relative path starts at the root too.
pub(super) fn parts(path: &Path) -> io::Result<Vec<&str>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => {
                names.push(name.to_str().ok_or(io::ErrorKind::InvalidFilename)?);
            }
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(io::ErrorKind::InvalidFilename.into());
            }
        }
    }
    Ok(names)
}
