//! How many connections are open, in all and from each address.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use parking_lot::Mutex;

/// The bits of an IPv6 address that name a network: whoever has one address of it has them all.
const NETWORK: u128 = !0 << 64;

/// The caps, and who is here.
#[derive(Debug)]
pub(super) struct Seats {
    most: usize,
    most_per_address: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Which cap was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// That of the server.
    Server,
    /// That of one address.
    Address,
}

impl Seats {
    pub(super) fn new(most: usize, most_per_address: usize) -> Arc<Self> {
        Arc::new(Seats {
            most,
            most_per_address,
            taken: Mutex::default(),
        })
    }

    /// A place for a connection from this address.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Result<Seat, Full> {
        let address = network(address);
        let mut taken = self.taken.lock();
        if taken.total >= self.most {
            return Err(Full::Server);
        }
        let count = taken.by_address.entry(address).or_default();
        // A cap is at least one, so an entry made just now never stays at none.
        if *count >= self.most_per_address {
            return Err(Full::Address);
        }
        *count += 1;
        taken.total += 1;
        Ok(Seat {
            seats: self.clone(),
            address,
        })
    }
}

/// One connection's place.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    address: IpAddr,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock();
        taken.total -= 1;
        if let Some(count) = taken.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & NETWORK)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(seats: &Arc<Seats>, address: &str) -> Result<Seat, Full> {
        seats.take(address.parse().unwrap())
    }

    #[test]
    fn both_caps_hold_and_places_come_back() {
        let seats = Seats::new(3, 2);
        let first = take(&seats, "10.0.0.1").unwrap();
        let _second = take(&seats, "10.0.0.1").unwrap();
        assert_eq!(take(&seats, "10.0.0.1").unwrap_err(), Full::Address);
        let third = take(&seats, "10.0.0.2").unwrap();
        assert_eq!(take(&seats, "10.0.0.3").unwrap_err(), Full::Server);
        drop(first);
        let _fourth = take(&seats, "10.0.0.1").unwrap();
        drop(third);
        assert_eq!(seats.taken.lock().by_address.len(), 1);
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_a_mapped_one_is_ipv4() {
        let seats = Seats::new(10, 1);
        let _one = take(&seats, "2001:db8:0:1::1").unwrap();
        assert!(take(&seats, "2001:db8:0:1:ffff::2").is_err());
        let _two = take(&seats, "2001:db8:0:2::1").unwrap();
        let _three = take(&seats, "10.0.0.1").unwrap();
        assert!(take(&seats, "::ffff:10.0.0.1").is_err());
    }
}
