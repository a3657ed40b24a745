//! One gate to every effect, and what cannot be measured.
