//! Who may decide, and what stops everything.
