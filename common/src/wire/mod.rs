//! How events look to one kind of client. A dialect is a pure function from an event to text.

pub mod line;
