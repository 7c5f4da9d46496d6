//! A site as the keyring knows it: its names, its tree, and the keys that are derived of its own.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use super::coding::{Before, Coded, Failed, Loader, Sealer};
use super::part::Of;
use super::pieces::{Item, LENGTH_BYTES_MAX, Piece};
use super::place::{Place, Placed};
use super::tree::{SITE_DEPTH, TREE_BYTES_MIN, Tree};
use crate::crypto::{Key, hmac, hmac_parts, kdf};
use crate::error::Result;
use crate::format::codec::{Malformed, Put, Take};
use crate::ids::{FileId, SessionId, SessionTag, SiteHandle, SiteId, VisitorId, VisitorTag};
use crate::limits::{RETENTION_DAYS_MAX, SITE_ID_BYTES_MAX};
use crate::sync::RwLock;

/// Fewest bytes of a site in the keyring: an id of one character and a tree without nodes, or as little of parts.
pub(super) const SITE_BYTES_MIN: usize = 16 + 2 + 8 + 4 + Key::BYTES + 1 + TREE_BYTES_MIN;

/// One site. Its tree may lose leaves while others hold it; nothing else about it ever changes.
pub(crate) struct Site {
    id: SiteId,
    handle: SiteHandle,
    created_ms: u64,
    retention_days: u32,
    key: Key,
    tree: RwLock<Tree>,
    /// Made at first use: most of a million sites are asleep.
    derived: OnceLock<Box<Derived>>,
}

struct Derived {
    envelope: Key,
    index: Key,
    session_tag: Key,
    visitor_tag: Key,
    cursor: Key,
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Site({})", self.id)
    }
}

fn half(mac: &Key) -> [u8; 16] {
    *mac.expose().first_chunk().unwrap_or(&[0; 16])
}

impl Site {
    pub(super) fn new(
        id: SiteId,
        handle: SiteHandle,
        created_ms: u64,
        retention_days: u32,
        key: Key,
        tree: Tree,
    ) -> Self {
        let tree = RwLock::new(tree);
        Self { id, handle, created_ms, retention_days, key, tree, derived: OnceLock::new() }
    }

    pub(crate) fn id(&self) -> &SiteId {
        &self.id
    }

    pub(crate) fn handle(&self) -> SiteHandle {
        self.handle
    }

    /// When the site was added, in Unix milliseconds.
    pub(crate) fn created_ms(&self) -> u64 {
        self.created_ms
    }

    /// The retention class of sessions that name none, in days.
    pub(crate) fn retention_days(&self) -> u32 {
        self.retention_days
    }

    /// What stands for a session on disk. `attempt` is 0 unless the place of a lower one is taken.
    pub(crate) fn session_tag(&self, session: &SessionId, attempt: u8) -> SessionTag {
        let key = &self.derived().session_tag;
        SessionTag(half(&hmac_parts(key, &[&[attempt], session.as_str().as_bytes()])))
    }

    /// What stands for a visitor on disk.
    pub(crate) fn visitor_tag(&self, visitor: Option<&VisitorId>) -> VisitorTag {
        visitor.map_or(VisitorTag::NONE, |visitor| {
            VisitorTag(half(&hmac(&self.derived().visitor_tag, visitor.as_str().as_bytes())))
        })
    }

    /// The key of the envelopes of the site's frames in one journal whose sessions are kept until the same day, from the key
    /// of that day.
    pub(super) fn envelope(&self, day_key: &Key, journal: &FileId) -> Key {
        let key = hmac(day_key, self.derived().envelope.expose());
        kdf(&key, "reelvault/journal envelope", &journal.0)
    }

    /// The key of the site's index in the segments of one day or one hold, from the key of either.
    pub(super) fn index(&self, kept_key: &Key) -> Key {
        kdf(&hmac(kept_key, self.derived().index.expose()), "reelvault/segment index", &[])
    }

    /// Authenticates a cursor that a caller brings back. To be compared in constant time.
    pub(crate) fn cursor_mac(&self, cursor: &[u8]) -> [u8; 16] {
        half(&hmac(&self.derived().cursor, cursor))
    }

    /// The key of what a purpose of its own seals for this site.
    pub(super) fn purpose_key(&self, purpose: &str) -> Key {
        kdf(&self.key, "reelvault/sealer", purpose.as_bytes())
    }

    fn derived(&self) -> &Derived {
        self.derived.get_or_init(|| {
            let derive = |label| kdf(&self.key, label, &[]);
            Box::new(Derived {
                envelope: derive("reelvault/envelope"),
                index: derive("reelvault/index"),
                session_tag: derive("reelvault/session tag"),
                visitor_tag: derive("reelvault/visitor tag"),
                cursor: derive("reelvault/cursor"),
            })
        })
    }

    /// The key of a session's place; none if it was removed.
    pub(super) fn leaf(&self, place: u64) -> Option<Key> {
        self.tree.read().leaf(place)
    }

    /// Whether the key of a session was removed.
    pub(crate) fn is_erased(&self, tag: &SessionTag) -> bool {
        !self.tree.read().has(tag.place())
    }

    /// Whether the site was erased.
    pub(crate) fn is_gone(&self) -> bool {
        self.tree.read().node_count() == 0
    }

    /// Whether the other is this site in another generation of the keyring.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.handle == other.handle && self.id == other.id
    }

    /// Replaces the tree for everyone who holds this site, and wipes what it alone had.
    pub(super) fn replace_tree(&self, tree: &Tree) {
        if !self.tree.read().is(tree) {
            *self.tree.write() = tree.clone();
        }
    }
}

/// A site in one generation of the keyring. The tree of the [`Site`] itself is that of the generation that counts.
#[derive(Clone)]
pub(super) struct Record {
    pub(super) site: Arc<Site>,
    pub(super) tree: Tree,
}

impl Record {
    pub(super) fn new(site: Arc<Site>, tree: Tree) -> Self {
        Self { site, tree }
    }

    /// Where a site of this handle stands among the sites.
    pub(super) fn at(handle: &SiteHandle) -> u64 {
        u64::from_be_bytes(*handle.0.first_chunk().unwrap_or(&[0; 8]))
    }

    fn encode(&self, out: &mut Vec<u8>, sealer: &mut Sealer<'_>) -> Result<()> {
        let site = &*self.site;
        out.put(&site.handle.0);
        out.put_bytes(site.id.as_str().as_bytes());
        out.put_u64(site.created_ms);
        out.put_u32(site.retention_days);
        out.put(site.key.expose());
        out.put_u8(self.tree.height());
        self.tree.encode(Of::Tree(site.handle), out, sealer)
    }

    fn decode(take: &mut Take<'_>, loader: &mut Loader<'_>) -> Result<Self, Failed> {
        let handle = SiteHandle(take.array("site handle")?);
        let id = SiteId::new(take.text(SITE_ID_BYTES_MAX, "site id")?)
            .map_err(|_| Malformed("site id"))?;
        let created_ms = take.u64("creation of a site")?;
        let retention_days = take.u32("retention class of a site")?;
        if !(1..=RETENTION_DAYS_MAX).contains(&retention_days) {
            return Err(Malformed("retention class of a site").into());
        }
        let key = Key::take(&mut take.array("site key")?);
        let height = take.u8("levels of parts")?;
        let tree = Tree::load(SITE_DEPTH, height, Of::Tree(handle), take, loader)?;
        let site = Site::new(id, handle, created_ms, retention_days, key, tree.clone());
        // Those who hold the site are to hold the same one in the next generation.
        let before = loader.before.and_then(|before| before.state.record(&handle));
        let held = before.filter(|before| before.site.is_same(&site));
        let site = held.map_or_else(|| Arc::new(site), |before| Arc::clone(&before.site));
        Ok(Self { site, tree })
    }
}

impl Placed for Record {
    fn place(&self) -> Place {
        Place::single(Self::at(&self.site.handle))
    }
}

impl Item for Record {
    const BYTES_MIN: usize = SITE_BYTES_MIN;

    fn bytes_max(_: Place, records: &[Self]) -> usize {
        let own =
            |record: &Self| SITE_BYTES_MIN + SITE_ID_BYTES_MAX + record.tree.encoded_bytes_max();
        LENGTH_BYTES_MAX + records.iter().map(own).sum::<usize>()
    }

    fn below_bytes_max(&self) -> u64 {
        self.tree.pieces().below_bytes_max()
    }
}

impl Coded for Record {
    fn encode_items(
        _: Place,
        records: &[Self],
        out: &mut Vec<u8>,
        sealer: &mut Sealer<'_>,
    ) -> Result<()> {
        out.put_varint(records.len() as u64);
        records.iter().try_for_each(|record| record.encode(out, sealer))
    }

    fn decode_items(
        place: Place,
        take: &mut Take<'_>,
        loader: &mut Loader<'_>,
    ) -> Result<Vec<Self>, Failed> {
        let count = take.count(SITE_BYTES_MIN, "site count")?;
        let mut records: Vec<Self> = Vec::with_capacity(count);
        for _ in 0..count {
            let record = Self::decode(take, loader)?;
            let at = record.place().first();
            let in_order = records.last().is_none_or(|last| last.place().first() < at);
            if !in_order || !place.covers(at) {
                return Err(Malformed("site order").into());
            }
            records.push(record);
        }
        Ok(records)
    }

    fn known(before: &Before) -> &HashMap<FileId, Arc<Piece<Self>>> {
        before.sites()
    }
}
