//! What is seen is what is signed.
