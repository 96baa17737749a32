//! Tests of the conversation against a small model of the server.

mod filter;
mod lines;
mod outage;
mod server;
mod simulation;
mod udp;
