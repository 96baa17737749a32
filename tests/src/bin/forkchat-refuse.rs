//! Runs a program that the kernel refuses certain system calls, as a container's profile or an older kernel does. See `forkchat_tests::refuse`.

fn main() -> std::process::ExitCode {
    forkchat_tests::refuse::main()
}
