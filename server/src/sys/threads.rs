//! Threads of this process: whether it has more than one, and whether the system allows more.

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use std::io;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

/// Whether this process has only one thread, the calling one. A thread that was joined still counts
/// for a moment.
///
/// # Errors
/// If neither /proc nor the kernel gives the information.
pub(super) fn is_single_threaded() -> io::Result<bool> {
    if let Ok(threads) = std::fs::read_dir("/proc/self/task") {
        return Ok(threads.count() == 1);
    }
    // With one thread there is nothing to unshare; with several the call fails with EINVAL. Source:
    // unshare(2), CLONE_THREAD.
    match unshare(CloneFlags::CLONE_THREAD) {
        Ok(()) => Ok(true),
        Err(Errno::EINVAL) => Ok(false),
        Err(errno) => Err(io::Error::other(format!(
            "it is unknown whether this process has one thread: /proc/self/task can't be read, \
             and unshare is refused ({errno}); mount /proc"
        ))),
    }
}

/// Whether the system allows `count` more threads at the same time, with stacks of `stack_bytes`
/// bytes. A thread pool would panic if it didn't.
pub fn can_start_threads(count: usize, stack_bytes: usize) -> bool {
    start_threads(count, stack_bytes).is_ok()
}

/// Starts `count` threads at the same time, with stacks of `stack_bytes` bytes, and ends them.
///
/// # Errors
/// `EAGAIN` at a limit on processes or memory; or the error with which a system's filter answers
/// `clone3` and `clone`.
pub fn start_threads(count: usize, stack_bytes: usize) -> io::Result<()> {
    let (release, held) = channel::<()>();
    let held = Arc::new(Mutex::new(held));
    let start = |_| {
        let held = held.clone();
        // Waits until the sender is dropped.
        std::thread::Builder::new()
            .stack_size(stack_bytes)
            .spawn(move || held.lock().is_ok_and(|held| held.recv().is_err()))
    };
    let started: Vec<_> = (0..count).map(start).collect();
    drop(release);
    let failed = |_| io::Error::other("a thread panicked");
    started
        .into_iter()
        .try_for_each(|thread| thread.and_then(|thread| thread.join().map(drop).map_err(failed)))
}

/// Makes threads possible where `clone3` is refused with an error other than `ENOSYS`, as some
/// containers' profiles do: the C library falls back to `clone` only for `ENOSYS`. If several
/// filters refuse a call, the one installed last determines the error, so this process and its
/// children get a filter that answers `ENOSYS`. Does nothing where `clone3` isn't refused. Sources:
/// clone(2), seccomp(2).
///
/// # Errors
/// If the filter is refused. Threads can't be started then, either.
pub fn fall_back_on_clone() -> nix::Result<()> {
    match try_clone3() {
        Ok(()) | Err(Errno::ENOSYS) => Ok(()),
        Err(_) => answer_enosys(libc::SYS_clone3 as u32),
    }
}

/// Whether `clone3` is known and allowed. Starts nothing.
pub(super) fn try_clone3() -> nix::Result<()> {
    // SAFETY: without arguments the kernel starts nothing, and answers EINVAL.
    match Errno::result(unsafe {
        libc::syscall(libc::SYS_clone3, std::ptr::null::<libc::c_void>(), 0usize)
    }) {
        Err(Errno::EINVAL) | Ok(_) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Makes the kernel answer a system call with `ENOSYS` from now on.
fn answer_enosys(number: u32) -> nix::Result<()> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut steps = [
        // The first word of a filter's input is the call's number.
        step(LOAD, 0, 0, 0),
        step(JUMP_IF_EQUAL, 0, 1, number),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | Errno::ENOSYS as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // Without it only a privileged process may install a filter. It has no other effect here, since
    // this program executes no other program.
    nix::sys::prctl::set_no_new_privs()?;
    // SAFETY: the kernel copies the program, whose steps live as long as the call.
    Errno::result(unsafe {
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
    })
    .map(drop)
}
