//! What kache does with a remote: fetch and upload an entry, find what a remote lacks, push, pull, and write build
//! records.
//!
//! Owns the order of requests, the checks between network and store, and what is recorded of failures. No data from
//! the network reaches the store before its digest has been compared. Must not know how objects are transferred
//! ([`super::s3`]) or how their bytes are formed ([`super::format`]).

pub mod build_records;
pub mod bundles;
pub mod checkout;
pub mod cleanup;
pub mod collection;
pub mod denials;
pub mod fetch;
mod fetched;
pub mod inventory;
mod joined;
mod journal;
pub mod known;
mod outbox;
pub mod presence;
pub mod publication;
pub mod pull;
pub mod pull_plan;
pub mod push;
pub mod record_choice;
pub mod remote;
pub mod remote_entry;
pub mod retention;
pub mod snapshots;
pub mod upload;
pub mod workspace;
