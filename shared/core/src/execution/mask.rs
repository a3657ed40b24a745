//! Many steps in few bytes: a bit for each step of a plan, in its order.

use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
use std::collections::BTreeSet;

const BITS: usize = 4;

/// Steps by their place, as hexadecimal digits.
pub(super) fn to_mask(places: &BTreeSet<usize>, steps: usize) -> String {
    let bit = |index: usize| u32::from(places.contains(&index));
    let digit = |first: usize| (0..BITS).fold(0, |digit, offset| digit << 1 | bit(first + offset));
    (0..steps).step_by(BITS).filter_map(|first| char::from_digit(digit(first), 16)).collect()
}

/// The places of a mask.
pub(super) fn places(mask: &str) -> impl Iterator<Item = usize> {
    mask.chars().enumerate().flat_map(|(index, digit)| {
        let digit = digit.to_digit(16).unwrap_or_default();
        let set = move |offset: &usize| digit >> (BITS - 1 - offset) & 1 == 1;
        (0..BITS).filter(set).map(move |offset| index * BITS + offset)
    })
}

/// Whether a place is in a mask.
pub(super) fn holds(mask: &str, place: usize) -> bool {
    let digit = mask.as_bytes().get(place / BITS).map(|digit| char::from(*digit));
    let digit = digit.and_then(|digit| digit.to_digit(16)).unwrap_or_default();
    digit >> (BITS - 1 - place % BITS) & 1 == 1
}

// As a value of a record.

pub(super) fn serialize<S: Serializer>(
    places: &BTreeSet<usize>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    to_mask(places, places.last().map_or(0, |last| last + 1)).serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeSet<usize>, D::Error> {
    Ok(places(&String::deserialize(deserializer)?).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_mask_holds_its_places(given in proptest::collection::btree_set(0_usize..1_000,
            0..1_000)) {
            let mask = to_mask(&given, 1_000);
            prop_assert_eq!(mask.len(), 250);
            prop_assert!((0..1_010).all(|place| holds(&mask, place) == given.contains(&place)));
            prop_assert_eq!(places(&mask).collect::<BTreeSet<_>>(), given);
        }
    }
}
