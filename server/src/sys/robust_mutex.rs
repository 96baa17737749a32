//! `pthread_mutex_t`, shared between processes and robust: when its owner dies, the next process
//! that locks it learns of the death.
//!
//! Source: pthread_mutexattr_setrobust(3), pthread_mutex_consistent(3), get_robust_list(2).

use nix::errno::Errno;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use zerocopy::FromBytes;

/// Memory for a mutex. All zeroes is a mutex that [`RawMutex::init`] hasn't initialised yet;
/// locking that fails.
#[derive(FromBytes, Debug)]
#[repr(C)]
pub struct RawMutex {
    words: [AtomicU64; 8],
    /// 0: not initialised; 1: being initialised; 2: initialised.
    stage: AtomicU32,
    _pad: AtomicU32,
}

const _: () = assert!(size_of::<libc::pthread_mutex_t>() <= size_of::<[AtomicU64; 8]>());
const _: () = assert!(align_of::<libc::pthread_mutex_t>() <= align_of::<AtomicU64>());

/// The lock, held by this thread until dropped. It can't be sent to another thread.
#[derive(Debug)]
pub struct RawGuard {
    mutex: &'static RawMutex,
    /// The previous owner died while it held the lock: what the lock guards may be half changed.
    pub owner_died: bool,
    not_send: PhantomData<*const ()>,
}

// glibc has it since 2.30, and it is in POSIX.1-2024, but the libc crate doesn't declare it.
unsafe extern "C" {
    fn pthread_mutex_clocklock(
        mutex: *mut libc::pthread_mutex_t,
        clock: libc::clockid_t,
        until: *const libc::timespec,
    ) -> libc::c_int;
}
// The value in pthread.h; the libc crate declares it for other systems only.
const PTHREAD_MUTEX_ROBUST: libc::c_int = 1;

impl RawMutex {
    /// Initialises the mutex. A second call fails with `EBUSY`.
    pub fn init(&'static self) -> Result<(), Errno> {
        if self.stage.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return Err(Errno::EBUSY);
        }
        let mut attributes = std::mem::MaybeUninit::uninit();
        // SAFETY: `attributes` is written by init before it is used, and destroyed once.
        // `self.pointer()` is memory that is valid for ever ('static), large and aligned enough
        // (asserted above), interior-mutable throughout (atomics), and not used by any thread yet:
        // the exchange above lets one caller in, once.
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

    /// Locks it, waiting at most `timeout`. Fails with `ETIMEDOUT` or `EBUSY` if another live
    /// thread still holds it, with `EDEADLK` if this thread holds it, and with `EINVAL` if it isn't
    /// initialised.
    pub fn lock(&'static self, timeout: Duration) -> Result<RawGuard, Errno> {
        if self.stage.load(Ordering::Acquire) != 2 {
            return Err(Errno::EINVAL);
        }
        // SAFETY: the mutex is initialised (stage 2) and never destroyed or moved ('static).
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
            // SAFETY: this thread has just acquired the lock, and its state is marked inconsistent.
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

/// Whether the kernel knows which robust mutexes the calling thread holds. Without that, a killed
/// owner's lock is never released.
///
/// # Errors
/// If the kernel refuses the query.
pub fn has_robust_list() -> nix::Result<bool> {
    let (mut head, mut length) = (std::ptr::null_mut::<libc::c_void>(), 0usize);
    // SAFETY: 0 is the calling thread, and the kernel writes one pointer and one size, to variables
    // that live as long as the call.
    Errno::result(unsafe {
        libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut length)
    })?;
    Ok(!head.is_null())
}

fn check(result: libc::c_int) -> Result<(), Errno> {
    if result == 0 { Ok(()) } else { Err(Errno::from_raw(result)) }
}
