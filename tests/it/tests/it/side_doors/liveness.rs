//! Nothing waits for ever.
