//! The client's binary.

fn main() {
    std::process::exit(forkchat_client::run(&forkchat_client::Options::read()));
}
