//! The load test. See `forkchat_tests::load`.

fn main() -> std::process::ExitCode {
    forkchat_tests::load::main()
}
