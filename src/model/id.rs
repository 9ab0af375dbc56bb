//! Ids: UUID version 7 whose 12 bits of `rand_a` hold the partition, so that an id alone finds its task.

use std::{fmt, str::FromStr};

use minicbor::{
    Decode, Decoder, Encode, Encoder,
    decode::Error as DecodeError,
    encode::{Error as EncodeError, Write},
};
use uuid::Uuid;

use crate::clock::Timestamp;

/// `rand_a` has 12 bits.
pub const MAX_PARTITIONS: u16 = 1 << 12;

/// Not a UUID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a UUID")]
pub struct Malformed(String);

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// The id made of these bytes.
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                $name(Uuid::from_bytes(bytes))
            }

            /// The 16 bytes of the id.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// The partition the id was made for. Of a foreign UUID it may be any number below 4,096.
            pub fn partition(&self) -> u16 {
                let bytes = self.0.as_bytes();
                u16::from_be_bytes([bytes[6] & 0x0f, bytes[7]])
            }
        }

        impl FromStr for $name {
            type Err = Malformed;

            fn from_str(text: &str) -> Result<Self, Malformed> {
                Uuid::try_parse(text)
                    .map($name)
                    .map_err(|_| Malformed(text.chars().take(64).collect()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl<C> Encode<C> for $name {
            fn encode<W: Write>(
                &self,
                e: &mut Encoder<W>,
                _: &mut C,
            ) -> Result<(), EncodeError<W::Error>> {
                e.bytes(self.as_bytes())?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
                let bytes: [u8; 16] = d
                    .bytes()?
                    .try_into()
                    .map_err(|_| DecodeError::message("an id has 16 bytes"))?;
                Ok($name::from_bytes(bytes))
            }
        }
    };
}

id! {
    /// Names a task.
    TaskId
}

id! {
    /// Names a batch.
    BatchId
}

impl BatchId {
    /// A new id. `random` must come from a good source; its low 62 bits are used.
    pub fn new(now: Timestamp, partition: u16, random: u64) -> Self {
        BatchId(compose(now, partition, random))
    }
}

/// The ids of one submit: consecutive, so that the first and a count stand for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct IdRange {
    /// The first id.
    #[n(0)]
    pub first: TaskId,
    /// How many ids there are.
    #[n(1)]
    pub count: u32,
}

impl IdRange {
    /// `count` new ids. `random` must come from a good source.
    pub fn new(now: Timestamp, partition: u16, random: u64, count: u32) -> Self {
        // One bit short of the 62 there are: adding the index cannot overflow into the variant.
        let first = TaskId(compose(now, partition, random >> 3));
        IdRange { first, count }
    }

    /// The id at `index`, which is below `count`.
    pub fn at(&self, index: u32) -> TaskId {
        let number = u128::from_be_bytes(*self.first.as_bytes()) + u128::from(index);
        TaskId(Uuid::from_u128(number))
    }

    /// Whether an id is one of these.
    pub fn contains(&self, id: TaskId) -> bool {
        let number = |id: TaskId| u128::from_be_bytes(*id.as_bytes());
        let steps = number(id).checked_sub(number(self.first));
        steps.is_some_and(|steps| steps < u128::from(self.count))
    }

    /// All ids in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = TaskId> + ExactSizeIterator + use<> {
        let range = *self;
        (0..range.count).map(move |index| range.at(index))
    }
}

fn compose(now: Timestamp, partition: u16, random: u64) -> Uuid {
    let millis = u128::from(now.0.max(0).unsigned_abs()) & 0xffff_ffff_ffff;
    let rand_a = u128::from(partition % MAX_PARTITIONS);
    let rand_b = u128::from(random & 0x3fff_ffff_ffff_ffff);
    Uuid::from_u128((millis << 80) | (0x7 << 76) | (rand_a << 64) | (0b10 << 62) | rand_b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_version_7_uuid_that_knows_its_partition() {
        let range = IdRange::new(Timestamp(1_700_000_000_000), 0xabc, u64::MAX, 1_000);
        for id in range.iter() {
            assert_eq!(id.0.get_version_num(), 7);
            assert_eq!(id.0.get_variant(), uuid::Variant::RFC4122);
            assert_eq!(id.partition(), 0xabc);
        }
    }

    #[test]
    fn the_ids_of_a_range_differ_and_sort_in_order() {
        let range = IdRange::new(Timestamp(1), 0, 7, 1_000);
        let ids: Vec<TaskId> = range.iter().collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn a_range_contains_its_ids_and_no_others() {
        let range = IdRange::new(Timestamp(2), 0, 7, 3);
        assert!(range.iter().all(|id| range.contains(id)));
        assert!(!range.contains(range.at(3)));
        let before = IdRange::new(Timestamp(1), 0, 7, 3);
        assert!(!range.contains(before.first) && !before.contains(range.first));
    }

    #[test]
    fn text_that_is_no_uuid_is_refused() {
        assert!("".parse::<TaskId>().is_err());
        assert!("nonsense".parse::<TaskId>().is_err());
        let id = IdRange::new(Timestamp(1), 0, 7, 1).first;
        assert_eq!(id.to_string().parse::<TaskId>(), Ok(id));
    }
}
