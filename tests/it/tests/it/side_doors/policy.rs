//! Verdicts, signals and labels.
