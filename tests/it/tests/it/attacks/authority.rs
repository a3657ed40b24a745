//! Attacks on authority.
