//! How a client receives events as text. [`mod@line`] renders an event; [`tagged`] parses the form
//! for programs.

pub mod line;
pub mod tagged;
