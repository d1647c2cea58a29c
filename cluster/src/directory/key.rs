//! Names as the directory keeps them: half of a block's digest, the slot of its run, and in which form a holder has it.
//! It must never know who holds what.

use ultrakv_cache::{BlockAddress, BlockKey, SLOT_COUNT};

/// The first 16 bytes of a block's digest, ordered as its bytes are.
///
/// Half a digest is enough for a hint: two blocks out of 50 million share one with a probability below 2⁻⁷⁶, and the
/// holder compares all 32 bytes before it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DirectoryKey(u128);

impl DirectoryKey {
    /// The key of a block.
    #[must_use]
    #[inline]
    pub fn of(key: &BlockKey) -> Self {
        let (half, _) = key
            .as_bytes()
            .split_first_chunk()
            .unwrap_or((&[0; 16], &[]));
        Self(u128::from_be_bytes(*half))
    }

    /// The key as a number; the order of numbers is the order of keys.
    #[must_use]
    pub const fn to_u128(self) -> u128 {
        self.0
    }

    /// The key of a stored record.
    #[must_use]
    pub const fn from_u128(key: u128) -> Self {
        Self(key)
    }
}

/// Where the directory keeps a block's record: the block's key in the partition of its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The slot of the run's head, below [`SLOT_COUNT`]; it is the partition too.
    pub slot: u16,
    /// The block.
    pub key: DirectoryKey,
}

impl Place {
    /// The place of an address.
    #[must_use]
    #[inline]
    pub fn of(address: &BlockAddress) -> Self {
        Self {
            slot: address.slot(),
            key: DirectoryKey::of(&address.key),
        }
    }

    /// Whether the slot is one.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.slot < SLOT_COUNT
    }
}

/// Where in a node a copy lies, fastest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Memory of a GPU.
    Device,
    /// Memory of the host.
    Host,
    /// A file.
    Disk,
    /// An object store.
    Archive,
}

const CODECS: u8 = 16;

/// In which form a holder has a block: its tier, and the number of its codec ([`ultrakv_cache::Codec::code`], below
/// 16).
///
/// The codec is a number here, so that a node of an older version keeps and passes on records of codecs that it does
/// not know: a reader accepts codecs by number and takes no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Form(u8);

impl Form {
    /// A form; `None` for a codec number of 16 or more.
    #[must_use]
    pub const fn new(tier: Tier, codec: u8) -> Option<Self> {
        if codec >= CODECS {
            return None;
        }
        let tier = match tier {
            Tier::Device => 0,
            Tier::Host => 1,
            Tier::Disk => 2,
            Tier::Archive => 3,
        };
        Some(Self(codec << 2 | tier))
    }

    /// The byte of a record: tier in the two lowest bits, codec in the next four.
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        self.0
    }

    /// The form of a record's byte; `None` when the two highest bits are not zero.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        if byte < CODECS << 2 {
            Some(Self(byte))
        } else {
            None
        }
    }

    /// The tier.
    #[must_use]
    pub const fn tier(self) -> Tier {
        match self.0 & 3 {
            0 => Tier::Device,
            1 => Tier::Host,
            2 => Tier::Disk,
            _ => Tier::Archive,
        }
    }

    /// The number of the codec.
    #[must_use]
    pub const fn codec(self) -> u8 {
        self.0 >> 2
    }
}

/// The codecs that a reader accepts; a copy in any other is no copy to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accept(u16);

impl Accept {
    /// Every codec, also those that this build does not know: for counting, not for reading.
    pub const ALL: Self = Self(u16::MAX);

    /// These codec numbers; numbers of 16 and more name no codec and are passed over.
    #[must_use]
    pub fn codecs(numbers: &[u8]) -> Self {
        let known = numbers.iter().filter(|number| **number < CODECS);
        Self(known.fold(0, |bits, number| bits | 1 << number))
    }

    #[inline]
    pub(super) const fn takes(self, form: Form) -> bool {
        self.0 >> form.codec() & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_and_bytes_are_one_to_one() {
        let tiers = [Tier::Device, Tier::Host, Tier::Disk, Tier::Archive];
        let mut seen = std::collections::BTreeSet::new();
        for codec in 0..CODECS {
            for tier in tiers {
                let form = Form::new(tier, codec).unwrap();
                assert_eq!((form.tier(), form.codec()), (tier, codec));
                assert_eq!(Form::from_byte(form.to_byte()), Some(form));
                assert!(seen.insert(form.to_byte()));
            }
        }
        assert_eq!(Form::new(Tier::Host, CODECS), None);
        assert!((CODECS << 2..=u8::MAX).all(|byte| Form::from_byte(byte).is_none()));
    }

    #[test]
    fn a_reader_takes_only_what_it_accepts() {
        let raw_and_five = Accept::codecs(&[0, 5, 16, 255]);
        for codec in 0..CODECS {
            let form = Form::new(Tier::Disk, codec).unwrap();
            assert_eq!(raw_and_five.takes(form), codec == 0 || codec == 5);
            assert!(Accept::ALL.takes(form));
        }
    }

    #[test]
    fn keys_are_ordered_as_their_bytes() {
        let key = |first: u8, sixteenth: u8| {
            let mut bytes = [9; 32];
            (bytes[0], bytes[15]) = (first, sixteenth);
            DirectoryKey::of(&BlockKey::from_bytes(bytes))
        };
        assert!(key(1, 255) < key(2, 0));
        assert!(key(1, 1) < key(1, 2));
        assert_eq!(DirectoryKey::from_u128(key(7, 7).to_u128()), key(7, 7));
    }
}
