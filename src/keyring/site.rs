//! A site as the keyring knows it: its names, its tree, and the keys that are derived of its own.

use std::fmt;
use std::sync::OnceLock;

use parking_lot::RwLock;

use super::tree::{SITE_DEPTH, TREE_BYTES_MIN, Tree};
use crate::crypto::{Key, hmac, hmac_parts, kdf};
use crate::format::codec::{Malformed, Put, Take};
use crate::ids::{FileId, SessionId, SessionTag, SiteHandle, SiteId, VisitorId, VisitorTag};
use crate::limits::{RETENTION_DAYS_MAX, SITE_ID_BYTES_MAX};

/// Fewest bytes of a site in the keyring: an id of one character and a tree without nodes.
pub(super) const SITE_BYTES_MIN: usize = 16 + 2 + 8 + 4 + Key::BYTES + TREE_BYTES_MIN;

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

    /// Replaces the tree for everyone who holds this site, and wipes the one it had.
    pub(super) fn replace_tree(&self, tree: Tree) {
        *self.tree.write() = tree;
    }

    /// This site with another tree, for another generation.
    pub(super) fn with_tree(&self, tree: Tree) -> Self {
        let (id, key) = (self.id.clone(), self.key.clone());
        Self::new(id, self.handle, self.created_ms, self.retention_days, key, tree)
    }

    /// The tree as it is now.
    pub(super) fn tree(&self) -> Tree {
        self.tree.read().clone()
    }

    pub(super) fn node_count(&self) -> usize {
        self.tree.read().node_count()
    }

    /// Upper bound of the bytes that [`Self::encode`] appends.
    pub(super) fn encoded_bytes_max(&self) -> usize {
        SITE_BYTES_MIN + SITE_ID_BYTES_MAX + self.tree.read().encoded_bytes_max()
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put(&self.handle.0);
        out.put_bytes(self.id.as_str().as_bytes());
        out.put_u64(self.created_ms);
        out.put_u32(self.retention_days);
        out.put(self.key.expose());
        self.tree.read().encode(out);
    }

    pub(super) fn decode(take: &mut Take<'_>) -> Result<Self, Malformed> {
        let handle = SiteHandle(take.array("site handle")?);
        let id = SiteId::new(take.text(SITE_ID_BYTES_MAX, "site id")?)
            .map_err(|_| Malformed("site id"))?;
        let created_ms = take.u64("creation of a site")?;
        let retention_days = take.u32("retention class of a site")?;
        if !(1..=RETENTION_DAYS_MAX).contains(&retention_days) {
            return Err(Malformed("retention class of a site"));
        }
        let key = Key::take(&mut take.array("site key")?);
        let tree = Tree::decode(SITE_DEPTH, take)?;
        Ok(Self::new(id, handle, created_ms, retention_days, key, tree))
    }
}
