//! Data is never control, and secrets stay out of evidence.
