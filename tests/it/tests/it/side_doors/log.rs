//! Evidence without holes.
