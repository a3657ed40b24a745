//! An input as it is shown: value by value, with sensitive values and values of other steps marked.

use super::{count, excerpt};
use crate::{
    schema::within,
    seal::{Sealed, Seals},
};
use contracts::{
    json::escape,
    limits::{VIEW_ENTRIES_MAX, VIEW_VALUE_CHARACTERS_MAX},
    manifest::BlastRadius,
    plan::{PlanStep, Wire},
    view::{Aspect, Shown, Unknown, ViewInput},
};
use serde_json::Value;
use std::collections::BTreeSet;

/// An input with what stands beside it: its wires and its sealed places.
pub(super) struct Input<'i> {
    /// Null in the places below.
    value: &'i Value,
    wires: &'i [Wire],
    seals: &'i Seals,
}

/// A place of an input and what is there.
enum Place<'i> {
    Value(&'i Value),
    Sealed,
    Wired(&'i Wire),
}

impl<'i> Input<'i> {
    /// As far as it is known before the run.
    pub(super) fn planned(step: &'i PlanStep) -> Self {
        Self { value: &step.input, wires: &step.wires, seals: &step.seals }
    }

    /// As it would be sent.
    pub(super) fn actual(input: &'i Sealed) -> Self {
        Self { value: &input.value, wires: &[], seals: &input.seals }
    }

    // Every value that is no container, every sealed place and every wire, in the order of their
    // pointers.
    fn places(&self) -> Vec<(String, Place<'_>)> {
        let mut places = Vec::new();
        self.collect(self.value, String::new(), &mut places);
        let known: BTreeSet<String> = places.iter().map(|(pointer, _)| pointer.clone()).collect();
        let beside = self.seals.keys().map(|pointer| (pointer.clone(), Place::Sealed));
        places.extend(beside.filter(|(pointer, _)| !known.contains(pointer)));
        places.extend(self.wires.iter().map(|wire| (wire.to.clone(), Place::Wired(wire))));
        places.sort_by(|(left, _), (right, _)| left.cmp(right));
        places
    }

    fn collect<'s>(&'s self, value: &'s Value, at: String, places: &mut Vec<(String, Place<'s>)>) {
        if self.seals.contains_key(&at) {
            places.push((at, Place::Sealed));
            return;
        }
        if self.wires.iter().any(|wire| wire.to == at) {
            return;
        }
        match value {
            Value::Object(map) if !map.is_empty() => {
                for (key, inner) in map {
                    self.collect(inner, format!("{at}/{}", escape(key)), places);
                }
            }
            Value::Array(items) if !items.is_empty() => {
                for (index, inner) in items.iter().enumerate() {
                    self.collect(inner, format!("{at}/{index}"), places);
                }
            }
            // The input as a whole holds nothing.
            Value::Object(_) if at.is_empty() => {}
            Value::Object(_)
            | Value::Array(_)
            | Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_) => places.push((at, Place::Value(value))),
        }
    }

    /// The first rows, and how many are left out.
    pub(super) fn rows(&self, rows_max: usize) -> (Vec<ViewInput>, u32) {
        let places = self.places();
        let left_out = places.len().saturating_sub(rows_max);
        let row = |(pointer, place): &(String, Place<'_>)| ViewInput {
            pointer: excerpt(pointer),
            value: shown(place),
        };
        (places.iter().take(rows_max).map(row).collect(), count(left_out))
    }

    /// What stands at a pointer, if anything.
    pub(super) fn at(&self, pointer: &str) -> Option<Shown> {
        let mut below = self.below(pointer);
        let one = below.len() == 1;
        let first = below.pop()?;
        match first {
            (at, place) if one && within(pointer, &at) => Some(shown(&place)),
            // Something composed: as a whole, unless a part of it is not known.
            _ => self.value.pointer(pointer).map(|value| known(&Value::String(value.to_string()))),
        }
    }

    /// The values at and below a pointer, and how many are left out.
    pub(super) fn leaves(&self, pointer: &str) -> (Vec<Shown>, u32) {
        let below = self.below(pointer);
        let left_out = below.len().saturating_sub(VIEW_ENTRIES_MAX);
        (
            below.iter().take(VIEW_ENTRIES_MAX).map(|(_, place)| shown(place)).collect(),
            count(left_out),
        )
    }

    // Places that are at or below a pointer, or that hold it.
    fn below(&self, pointer: &str) -> Vec<(String, Place<'_>)> {
        let touches = |at: &str| within(at, pointer) || within(pointer, at);
        self.places().into_iter().filter(|(at, _)| touches(at)).collect()
    }

    /// What matters to a decision and comes from other steps.
    pub(super) fn unknown(
        &self,
        target: Option<&str>,
        declared: Option<&BlastRadius>,
    ) -> Vec<Unknown> {
        let money = declared.and_then(|radius| radius.money.as_ref());
        let aspects = [
            (Aspect::Target, target),
            (Aspect::Money, money.map(|money| money.amount.as_str())),
            (
                Aspect::Money,
                money.map(|money| money.currency.as_str()).filter(|text| text.starts_with('/')),
            ),
            (Aspect::Recipients, declared.and_then(|radius| radius.recipients.as_deref())),
        ];
        let mut unknown = BTreeSet::new();
        for (aspect, pointer) in aspects {
            let Some(pointer) = pointer else { continue };
            for wire in self
                .wires
                .iter()
                .filter(|wire| within(pointer, &wire.to) || within(&wire.to, pointer))
            {
                let (pointer, path) = (excerpt(&wire.to), excerpt(&wire.path));
                unknown.insert(Unknown { aspect, pointer, from: wire.from.clone(), path });
            }
        }
        unknown.into_iter().collect()
    }
}

fn shown(place: &Place<'_>) -> Shown {
    match place {
        Place::Value(value) => known(value),
        Place::Sealed => Shown::Sealed,
        Place::Wired(wire) => Shown::Wired { from: wire.from.clone(), path: excerpt(&wire.path) },
    }
}

fn known(value: &Value) -> Shown {
    match value {
        Value::String(text) => {
            let excerpt = super::excerpt_to(text, VIEW_VALUE_CHARACTERS_MAX);
            Shown::Known {
                value: Value::String(excerpt.text),
                omitted_characters: excerpt.omitted_characters,
            }
        }
        other => Shown::Known { value: other.clone(), omitted_characters: 0 },
    }
}
