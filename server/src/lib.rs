#![deny(unsafe_code)]
//! (map follows)
pub mod chat;
pub mod event_log;
pub mod ipc;
pub mod sys;
