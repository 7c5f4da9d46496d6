//! How much of what all share one address may hold.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

/// How many places each address holds.
#[derive(Default)]
pub(crate) struct Shares(Mutex<HashMap<IpAddr, u32>>);

/// A place that is one of its address until it is dropped.
pub(crate) struct Share {
    of: Arc<Shares>,
    ip: IpAddr,
}

impl Shares {
    /// Takes one place more, if the address has less than `most`.
    pub(crate) fn enter(self: &Arc<Self>, ip: IpAddr, most: u32) -> Option<Share> {
        let mut counts = self.0.lock().ok()?;
        let count = counts.entry(ip).or_insert(0);
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Share { of: Arc::clone(self), ip })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Ok(mut counts) = self.of.0.lock() else { return };
        if let Some(count) = counts.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.ip);
            }
        }
    }
}
