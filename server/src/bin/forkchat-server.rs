//! The server's binary.

use clap::Parser;

fn main() {
    std::process::exit(forkchat_server::run(forkchat_server::CommandLine::parse()));
}
