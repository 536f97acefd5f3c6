//! How often an address may be wrong about a token, or a signature.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::ApiError;

/// So many wrong tokens in a row are a person with an old one, or a script that was not told of the new one.
const FAILURES_MAX: u64 = 20;
/// One more is forgiven after this time: 20 guesses a minute, whoever guesses.
const FORGIVEN_AFTER_MS: u64 = 3_000;
/// So many addresses are remembered. Whoever has more has a network, and is not kept out by counting addresses.
const ADDRESSES_MAX: usize = 10_000;

/// The failed logins of late, by address.
///
/// Each address has a debt that shrinks with time: it is written as the time at which it is paid off.
#[derive(Debug, Default)]
pub struct FailedLogins(Mutex<HashMap<IpAddr, u64>>);

impl FailedLogins {
    /// Says no to an address that was wrong too often of late. One that is not known is heard.
    pub(crate) fn hears(&self, from: Option<IpAddr>, now_ms: u64) -> Result<(), ApiError> {
        match from.and_then(|from| self.closed_for(from, now_ms)) {
            Some(wait) => Err(ApiError::Limited { seconds: wait.as_secs().max(1) }),
            None => Ok(()),
        }
    }

    /// Returns how long an address has to wait before it is heard again. None: it is heard.
    fn closed_for(&self, address: IpAddr, now_ms: u64) -> Option<Duration> {
        let paid_ms = *self.paid().get(&network(address))?;
        let open_ms = paid_ms.saturating_sub((FAILURES_MAX - 1) * FORGIVEN_AFTER_MS);
        open_ms.checked_sub(now_ms).filter(|left_ms| *left_ms > 0).map(Duration::from_millis)
    }

    /// Notes a failure.
    pub(crate) fn note(&self, from: Option<IpAddr>, now_ms: u64) {
        let Some(address) = from else { return };
        let mut paid = self.paid();
        if paid.len() >= ADDRESSES_MAX {
            paid.retain(|_, paid_ms| *paid_ms > now_ms);
        }
        // A table that is still full keeps those that it has: they are the ones that guess.
        if paid.len() < ADDRESSES_MAX || paid.contains_key(&network(address)) {
            let paid_ms = paid.entry(network(address)).or_insert(now_ms);
            *paid_ms = (*paid_ms).max(now_ms) + FORGIVEN_AFTER_MS;
        }
    }

    fn paid(&self) -> MutexGuard<'_, HashMap<IpAddr, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns what is counted as one address: of IPv6 the network that a customer gets.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_that_guesses_is_closed_out_for_a_while_and_no_other_is() {
        let failed = FailedLogins::default();
        let (bad, good) = (address("203.0.113.7"), address("203.0.113.8"));
        for _ in 0..FAILURES_MAX - 1 {
            failed.note(Some(bad), 0);
        }
        assert_eq!(failed.closed_for(bad, 0), None);
        failed.note(Some(bad), 0);
        assert_eq!(failed.closed_for(bad, 0), Some(Duration::from_millis(FORGIVEN_AFTER_MS)));
        assert_eq!(failed.closed_for(good, 0), None);
        assert_eq!(failed.closed_for(bad, FORGIVEN_AFTER_MS), None);
        failed.note(Some(bad), FORGIVEN_AFTER_MS);
        assert!(failed.closed_for(bad, FORGIVEN_AFTER_MS).is_some(), "one guess was forgiven, and no more");
        assert_eq!(failed.closed_for(bad, FAILURES_MAX * FORGIVEN_AFTER_MS * 2), None);
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let failed = FailedLogins::default();
        for n in 0..FAILURES_MAX {
            failed.note(Some(address(&format!("2001:db8:1:2::{n:x}"))), 0);
        }
        assert!(failed.closed_for(address("2001:db8:1:2:ffff::1"), 0).is_some());
        assert!(failed.closed_for(address("2001:db8:1:3::1"), 0).is_none());
    }

    #[test]
    fn many_addresses_take_no_more_room_than_there_is() {
        let failed = FailedLogins::default();
        for n in 0..ADDRESSES_MAX as u32 + 5 {
            failed.note(Some(IpAddr::V4(n.into())), 0);
        }
        assert_eq!(failed.paid().len(), ADDRESSES_MAX);
        // The old ones are forgiven by now, and make room.
        failed.note(Some(address("203.0.113.7")), FORGIVEN_AFTER_MS + 1);
        assert_eq!(failed.paid().len(), 1);
    }
}
