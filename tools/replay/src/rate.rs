//! How often somebody may ask.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;

use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::config::Limits;
use crate::limits::SIGN_INS_A_MINUTE;
use crate::problem::Problem;

/// Keys beyond which those that have not been seen lately are forgotten at once.
const KEYS_MAX: usize = 100_000;

type Limiter<K> = RateLimiter<K, DashMapStateStore<K>, DefaultClock>;

/// The limits of addresses, of callers, and of attempts to sign in.
pub(crate) struct Rates {
    addresses: Limiter<IpAddr>,
    callers: Limiter<String>,
    sign_in_addresses: Limiter<IpAddr>,
    return_addresses: Limiter<IpAddr>,
    sign_in_users: Limiter<String>,
    clock: DefaultClock,
}

fn at_least_one(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN)
}

fn a_second(n: u32, burst: u32) -> Quota {
    Quota::per_second(at_least_one(n)).allow_burst(at_least_one(burst))
}

/// Of an IPv6 address the network counts: a customer has at least 2^64 of them.
pub(crate) fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => {
            let bits = v6.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(bits.into())
        }
        v4 => v4,
    }
}

impl Rates {
    pub(crate) fn new(limits: &Limits) -> Self {
        let sign_ins = || Quota::per_minute(at_least_one(SIGN_INS_A_MINUTE));
        Self {
            addresses: RateLimiter::keyed(a_second(
                limits.address_per_second,
                limits.address_burst,
            )),
            callers: RateLimiter::keyed(a_second(limits.caller_per_second, limits.caller_burst)),
            sign_in_addresses: RateLimiter::keyed(sign_ins()),
            return_addresses: RateLimiter::keyed(sign_ins()),
            sign_in_users: RateLimiter::keyed(sign_ins()),
            clock: DefaultClock::default(),
        }
    }

    fn check<K: Hash + Eq + Clone>(&self, of: &Limiter<K>, key: &K) -> Result<(), Problem> {
        if of.len() > KEYS_MAX {
            of.retain_recent();
        }
        of.check_key(key)
            .map(drop)
            .map_err(|until| Problem::limited(until.wait_time_from(self.clock.now()).as_secs() + 1))
    }

    /// A request of an address.
    pub(crate) fn address(&self, ip: IpAddr) -> Result<(), Problem> {
        self.check(&self.addresses, &network(ip))
    }

    /// A request of somebody known.
    pub(crate) fn caller(&self, who: &str) -> Result<(), Problem> {
        self.check(&self.callers, &who.to_owned())
    }

    /// An attempt to sign in.
    pub(crate) fn sign_in(&self, ip: IpAddr, user: Option<&str>) -> Result<(), Problem> {
        self.check(&self.sign_in_addresses, &network(ip))?;
        user.map_or(Ok(()), |user| self.check(&self.sign_in_users, &user.to_owned()))
    }

    /// Somebody comes back from an issuer. Attempts do not count here: what was begun may be ended.
    pub(crate) fn comes_back(&self, ip: IpAddr) -> Result<(), Problem> {
        self.check(&self.return_addresses, &network(ip))
    }

    /// Forgets who has not been seen lately.
    pub(crate) fn prune(&self) {
        self.addresses.retain_recent();
        self.callers.retain_recent();
        self.sign_in_addresses.retain_recent();
        self.return_addresses.retain_recent();
        self.sign_in_users.retain_recent();
    }
}
