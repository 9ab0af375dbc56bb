//! The leads of cache keys.

use super::{machine::Machine, read::View};
use crate::{
    clock::Timestamp,
    model::CacheKey,
    store::{Bid, Error, Lead, lead::LEAD_LEN},
};

/// A lead, and until when it is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LeadRecord {
    pub(super) lead: Lead,
    pub(super) until: Timestamp,
}

impl LeadRecord {
    /// `28 bytes lead | i64 until`.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.lead.encode().to_vec();
        bytes.extend(self.until.0.to_be_bytes());
        bytes
    }

    /// Reads such a record.
    pub(super) fn decode(bytes: &[u8]) -> Result<LeadRecord, Error> {
        let odd = || Error::Corrupt("the lead of a key is cut".into());
        let (lead, until) = bytes.split_at_checked(LEAD_LEN).ok_or_else(odd)?;
        let until = until.try_into().map_err(|_| odd())?;
        Ok(LeadRecord {
            lead: Lead::decode(lead)?,
            until: Timestamp(i64::from_be_bytes(until)),
        })
    }
}

impl Machine {
    /// Makes a task the lead of a key if its bid wins.
    pub(super) fn bid(&mut self, bid: &Bid) -> Result<Lead, Error> {
        let present = match self.lead(&bid.key) {
            // Whatever stood there, nobody can follow it.
            Err(Error::Corrupt(_)) => None,
            present => present?,
        };
        match present.filter(|present| !bid.wins(Some(present.lead))) {
            Some(present) => Ok(present.lead),
            None => {
                let record = LeadRecord {
                    lead: bid.lead,
                    until: bid.until,
                };
                if present != Some(record) {
                    self.overlay.leads.insert(bid.key, Some(record));
                }
                Ok(bid.lead)
            }
        }
    }

    /// Forgets the leads of keys; answers how many there were.
    pub(super) fn forget(&mut self, keys: &[CacheKey]) -> Result<usize, Error> {
        let mut forgotten = 0;
        for key in keys {
            let is_there = !matches!(self.lead(key), Ok(None));
            if is_there {
                self.overlay.leads.insert(*key, None);
                forgotten += 1;
            }
        }
        Ok(forgotten)
    }

    /// The lead of a key as it now is.
    pub(super) fn lead(&self, key: &CacheKey) -> Result<Option<LeadRecord>, Error> {
        let now = self.now();
        match self.overlay.leads.get(key) {
            Some(record) => Ok(record.filter(|record| record.until > now)),
            None => View::new(&self.disk).lead(key, now),
        }
    }
}
