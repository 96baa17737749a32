//! `pthread_mutex_t`, shared between processes and robust: when its owner dies, the next process
//! that locks it is informed.
//!
//! Source: pthread_mutexattr_setrobust(3), pthread_mutex_consistent(3), get_robust_list(2).

use nix::errno::Errno;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use zerocopy::FromBytes;

/// Room for a mutex. All zeroes is one that [`RawMutex::init`] hasn't made yet; locking that fails.
#[derive(FromBytes, Debug)]
#[repr(C)]
pub struct RawMutex {
    words: [AtomicU64; 8],
    /// 0 raw, 1 being made, 2 made.
    stage: AtomicU32,
    _pad: AtomicU32,
}

const _: () = assert!(size_of::<libc::pthread_mutex_t>() <= size_of::<[AtomicU64; 8]>());
const _: () = assert!(align_of::<libc::pthread_mutex_t>() <= align_of::<AtomicU64>());

/// The lock, held by this thread until dropped. Stays in its thread.
#[derive(Debug)]
pub struct RawGuard {
    mutex: &'static RawMutex,
    /// The previous owner died holding it: what the lock guards may be half done.
    pub owner_died: bool,
    not_send: PhantomData<*const ()>,
}

// glibc's since 2.30 and in POSIX.1-2024, but not declared by the libc crate.
unsafe extern "C" {
    fn pthread_mutex_clocklock(
        mutex: *mut libc::pthread_mutex_t,
        clock: libc::clockid_t,
        until: *const libc::timespec,
    ) -> libc::c_int;
}
// pthread.h's value; declared by the libc crate for other systems only.
const PTHREAD_MUTEX_ROBUST: libc::c_int = 1;

impl RawMutex {
    /// Makes the mutex. Once; a second call fails with `EBUSY`.
    pub fn init(&'static self) -> Result<(), Errno> {
        if self.stage.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return Err(Errno::EBUSY);
        }
        let mut attributes = std::mem::MaybeUninit::uninit();
        // SAFETY: `attributes` is written by init before it is used and destroyed once.
        // `self.pointer()` is memory that is valid for ever ('static), large and aligned enough
        // (asserted above), interior-mutable all over (atomics), and used by nobody yet: the
        // exchange above lets one caller in, once.
        unsafe {
            check(libc::pthread_mutexattr_init(attributes.as_mut_ptr()))?;
            check(libc::pthread_mutexattr_setpshared(
                attributes.as_mut_ptr(),
                libc::PTHREAD_PROCESS_SHARED,
            ))?;
            check(libc::pthread_mutexattr_settype(
                attributes.as_mut_ptr(),
                libc::PTHREAD_MUTEX_ERRORCHECK,
            ))?;
            check(libc::pthread_mutexattr_setrobust(
                attributes.as_mut_ptr(),
                PTHREAD_MUTEX_ROBUST,
            ))?;
            check(libc::pthread_mutex_init(self.pointer(), attributes.as_ptr()))?;
            check(libc::pthread_mutexattr_destroy(attributes.as_mut_ptr()))?;
        }
        self.stage.store(2, Ordering::Release);
        Ok(())
    }

    /// Locks, waiting at most `timeout`. `ETIMEDOUT` if it is still held by somebody who lives,
    /// `EDEADLK` if by this thread.
    pub fn lock(&'static self, timeout: Duration) -> Result<RawGuard, Errno> {
        if self.stage.load(Ordering::Acquire) != 2 {
            return Err(Errno::EINVAL);
        }
        // SAFETY: made (stage 2) and never destroyed or moved ('static).
        let mut result = unsafe { libc::pthread_mutex_trylock(self.pointer()) };
        if result == libc::EBUSY && !timeout.is_zero() {
            let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)?;
            let until = nix::sys::time::TimeSpec::from_duration(Duration::from(now) + timeout);
            // SAFETY: as above; `until` outlives the call.
            result = unsafe {
                pthread_mutex_clocklock(self.pointer(), libc::CLOCK_MONOTONIC, until.as_ref())
            };
        }
        let owner_died = result == libc::EOWNERDEAD;
        if owner_died {
            // SAFETY: this thread has just got the lock, with its state marked inconsistent.
            check(unsafe { libc::pthread_mutex_consistent(self.pointer()) })?;
        } else {
            check(result)?;
        }
        Ok(RawGuard { mutex: self, owner_died, not_send: PhantomData })
    }

    fn pointer(&self) -> *mut libc::pthread_mutex_t {
        self.words.as_ptr().cast_mut().cast()
    }
}

impl Drop for RawGuard {
    fn drop(&mut self) {
        // SAFETY: the guard exists only while this thread holds the lock, and can't have left its
        // thread.
        let result = unsafe { libc::pthread_mutex_unlock(self.mutex.pointer()) };
        debug_assert_eq!(result, 0, "unlocking a lock that we hold cannot fail");
    }
}

/// Whether the kernel knows which robust mutexes the calling thread holds: without that a killed
/// owner's lock is nobody's.
///
/// # Errors
/// If it doesn't tell.
pub fn has_robust_list() -> nix::Result<bool> {
    let (mut head, mut length) = (std::ptr::null_mut::<libc::c_void>(), 0usize);
    // SAFETY: 0 is the calling thread, and the kernel writes one pointer and one size, to where
    // they live as long as the call.
    Errno::result(unsafe {
        libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut length)
    })?;
    Ok(!head.is_null())
}

fn check(result: libc::c_int) -> Result<(), Errno> {
    if result == 0 { Ok(()) } else { Err(Errno::from_raw(result)) }
}
