//! Sign-in links: a token that works once, for one local user, until it expires. Of a token only its hash is kept.

use std::io;
use std::path::{Path, PathBuf};

use reelvault::env::{Env, Mode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::Config;
use crate::limits::LINK_MS_MAX;

#[derive(Serialize, Deserialize)]
struct Link {
    user: String,
    expires_ms: u64,
}

/// Bytes of a link's file: a name and a number.
const LINK_BYTES_MAX: u64 = 1_024;

fn path(state: &Path, token: &str) -> PathBuf {
    state.join("links").join(crate::text::hex(&Sha256::digest(token)))
}

/// Makes a link for a local user; returns its whole address.
///
/// # Errors
/// There is no such user; what the system answers.
pub fn make(env: &Env, config: &Config, user: &str) -> io::Result<String> {
    if !config.users.iter().any(|u| u.name == user) {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no user {user}")));
    }
    let token = super::random_text::<32>(&*env.random)?;
    let expires_ms = env.clock.now_ms().saturating_add(LINK_MS_MAX);
    let text = serde_json::to_vec(&Link { user: user.into(), expires_ms })?;
    let path = path(&config.state, &token);
    let folder = config.state.join("links");
    env.disk.create_dir(&folder)?;
    let file = env.disk.open(&path, Mode::Create)?;
    file.write_at(&text, 0)?;
    file.sync()?;
    env.disk.sync_dir(&folder)?;
    Ok(format!("{}/#link={token}", config.public_url()))
}

/// Uses a link: the user that it signs in. Of two who use it at once, one gets in.
pub(crate) fn take(env: &Env, state: &Path, token: &str) -> Option<String> {
    let path = path(state, token);
    let file = env.disk.open(&path, Mode::Read).ok()?;
    let bytes = file.len().ok().filter(|n| *n <= LINK_BYTES_MAX)?;
    let mut text = vec![0; bytes as usize];
    let read = file.read_at(&mut text, 0).ok()?;
    let link: Link = serde_json::from_slice(text.get(..read)?).ok()?;
    // Whoever removes it has used it.
    env.disk.remove(&path).ok()?;
    env.disk.sync_dir(path.parent()?).ok()?;
    (env.clock.now_ms() < link.expires_ms).then_some(link.user)
}
