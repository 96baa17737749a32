//! Runs a program in which certain system calls fail, as in a container or on an older kernel. See
//! `forkchat_tests::refuse`.

fn main() -> std::process::ExitCode {
    forkchat_tests::refuse::main()
}
