//! The engine on a real operating system.

pub mod check;
pub mod content;
pub mod home;
pub mod ledger;
pub mod limit;
pub mod random;
pub mod report;
pub mod writer;
