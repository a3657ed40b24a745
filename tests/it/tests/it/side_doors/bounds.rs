//! Work that a stranger can cause is bounded.
