//! The client's binary.

use clap::Parser;

fn main() {
    std::process::exit(forkchat_client::run(&forkchat_client::Options::parse()));
}
