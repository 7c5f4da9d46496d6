//! Local users: Argon2id.

use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash};
use argon2::{Algorithm, Argon2, Params, Version};
use reelvault::env::Random;

use crate::config::User;
use crate::limits::PASSWORD_BYTES_MAX;

/// Memory of a hash in KiB, passes and lanes: OWASP's first choice for Argon2id.
const COST: (u32, u32, u32) = (19_456, 2, 1);
/// A hash may ask for no more than this of whoever checks it, in KiB and passes.
const COST_MAX: (u32, u32) = (256 << 10, 16);

fn argon2() -> Argon2<'static> {
    let params = Params::new(COST.0, COST.1, COST.2, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// Whether a text is an Argon2id hash that can be checked here.
#[must_use]
pub fn is_hash(text: &str) -> bool {
    let Ok(hash) = PasswordHash::new(text) else { return false };
    let Ok(params) = Params::try_from(&hash) else { return false };
    hash.algorithm.as_str() == "argon2id"
        && params.m_cost() <= COST_MAX.0
        && params.t_cost() <= COST_MAX.1
}

/// The hash of a password, for the configuration.
///
/// # Errors
/// The system's randomness; a password that is empty or longer than 1,024 bytes.
pub fn hash(random: &dyn Random, password: &[u8]) -> std::io::Result<String> {
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
        return Err(std::io::Error::other("a password has 1 to 1,024 bytes"));
    }
    let mut salt = [0; 16];
    random.fill(&mut salt)?;
    let hash = argon2().hash_password_with_salt(password, &salt);
    hash.map(|h| h.to_string()).map_err(std::io::Error::other)
}

/// Whether a user of this name has this password. It takes the same time where there is no such user.
pub(crate) fn check<'a>(users: &'a [User], name: &str, password: &[u8]) -> Option<&'a User> {
    let user = users.iter().find(|u| u.name == name);
    let stored = user.and_then(|u| u.password.as_deref());
    let Some(hash) = stored.and_then(|text| PasswordHash::new(text).ok()) else {
        let _ = argon2().hash_password_with_salt(password, &[0; 16]);
        return None;
    };
    let right = argon2().verify_password(password, &hash).is_ok();
    user.filter(|_| right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_by_its_hash_alone() {
        let random = reelvault::env::Env::real().random;
        let hash = hash(&*random, b"correct horse").unwrap();
        assert!(is_hash(&hash) && !hash.contains("horse"));
        let user =
            |password: Option<String>| User { name: "anna".into(), password, grants: vec![] };
        let users = [user(Some(hash))];
        assert!(check(&users, "anna", b"correct horse").is_some());
        assert!(check(&users, "anna", b"correct horsf").is_none());
        assert!(check(&users, "berta", b"correct horse").is_none());
        assert!(check(&[user(None)], "anna", b"").is_none());
        assert!(!is_hash("secret"));
        assert!(!is_hash(
            "$argon2i$v=19$m=4096,t=3,p=1$c2FsdHNhbHQ$iWh06vD8Fy27wf9npn6FXWiCX4K6pW6Ue1Bnzz07Z8A"
        ));
        assert!(!is_hash(
            "$argon2id$v=19$m=4194304,t=3,p=1$c2FsdHNhbHQ$iWh06vD8Fy27wf9npn6FXWiCX4K6pW6Ue1Bnzz07Z8A"
        ));
    }
}
