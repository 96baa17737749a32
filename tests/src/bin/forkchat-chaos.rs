//! The chaos test. See `forkchat_tests::chaos`.

fn main() -> std::process::ExitCode {
    forkchat_tests::chaos::main()
}
