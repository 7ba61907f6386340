//! What is on record: the events, and what keeps the record from being changed.

pub mod events;
mod protect;
