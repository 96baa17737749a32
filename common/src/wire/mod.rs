//! How events look to one kind of client. A dialect is a pure function from an event to text; where programs read it, the way back
//! stands beside it.

pub mod line;
pub mod tagged;
