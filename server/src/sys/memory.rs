//! Memory that a process shares with the processes that it forks afterwards.
//!
//! Each mapping is a memfd of its own, so `/proc/PID/maps` names it. Where memfds are refused (an
//! old kernel, a container's profile, a limit on file sizes) it has no name. It is never unmapped:
//! it ends with the last process that has it. The kernel allocates a page when it is first written,
//! so a mapping may be as large as it could ever need to be.

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, mmap_anonymous};
use nix::unistd::{SysconfVar, ftruncate, sysconf};
use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;
use zerocopy::FromBytes;

/// Maps one zeroed `T`. `name` is what `/proc/PID/maps` shows.
///
/// `FromBytes` says that zeroes are a value of `T`, that it holds no pointer (which would mean
/// nothing in another process), and `Sync` that it may be used from several threads at once, which
/// is what several processes are to it.
pub fn map_shared<T: FromBytes + Sync + 'static>(name: &str) -> io::Result<&'static T> {
    Ok(&map_shared_slice(name, 1)?[0])
}

/// Maps `len` zeroed `T`s in a row, as [`map_shared`] does one.
pub fn map_shared_slice<T: FromBytes + Sync + 'static>(
    name: &str,
    len: usize,
) -> io::Result<&'static [T]> {
    const { assert!(align_of::<T>() <= 4096, "a mapping is aligned to a page") };
    let too_large = || {
        io::Error::new(
            io::ErrorKind::OutOfMemory,
            format!("cannot share {len} entries of {name}: too large"),
        )
    };
    let bytes =
        size_of::<T>().checked_mul(len).and_then(NonZeroUsize::new).ok_or_else(too_large)?;
    // A limit on file sizes (`ulimit -f`) holds for a memfd too, and not for a mapping without a
    // file.
    let start = memfd(name, bytes)
        .and_then(|file| map_file(&file, bytes))
        .or_else(|_| map_nothing(bytes))?;
    // SAFETY: the range is the mapping just made. DONTDUMP changes nothing about its contents: it
    // keeps a crash from writing the whole log into a core file, which would delay the successor.
    // Refused, nothing else is different.
    let _ = unsafe { madvise(start, bytes.get(), MmapAdvise::MADV_DONTDUMP) };
    // SAFETY: the mapping is `bytes` long, page-aligned, zeroed (a new memfd reads as zeroes, an
    // anonymous mapping too) and never unmapped, so it is valid as `[T]` for 'static; T: FromBytes
    // takes any bytes as values and T: Sync allows use by many at once. Nobody else can resize the
    // file, if it is one: its only descriptor was closed after the mapping.
    Ok(unsafe { std::slice::from_raw_parts(start.as_ptr().cast::<T>(), len) })
}

/// Gives the memory of a mapping's whole pages back to the system. They read as zeroes afterwards,
/// and take memory again where they are written. Source: madvise(2), MADV_REMOVE.
///
/// # Errors
/// `EINVAL` for what doesn't begin with a page, or isn't shared.
pub fn give_back(mapping: &'static [AtomicU64]) -> io::Result<()> {
    let page = sysconf(SysconfVar::PAGE_SIZE)?
        .and_then(|bytes| usize::try_from(bytes).ok())
        .unwrap_or(4096);
    // The kernel would round it up, to memory that may be another's.
    let whole_pages = size_of_val(mapping) / page * page;
    let start = NonNull::from(mapping).cast();
    // SAFETY: the range lies within the slice, which lives for ever. Its words become zeroes, as by
    // a store in another thread or process, which may happen to an atomic at any time.
    unsafe { madvise(start, whole_pages, MmapAdvise::MADV_REMOVE) }.map_err(io::Error::from)
}

fn memfd(name: &str, bytes: NonZeroUsize) -> nix::Result<File> {
    let file = File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC)?);
    ftruncate(&file, bytes.get() as libc::off_t)?;
    Ok(file)
}

fn map_file(file: &File, bytes: NonZeroUsize) -> nix::Result<NonNull<c_void>> {
    // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing that exists.
    unsafe {
        mmap(
            None,
            bytes,
            ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
            MapFlags::MAP_SHARED,
            file,
            0,
        )
    }
}

fn map_nothing(bytes: NonZeroUsize) -> nix::Result<NonNull<c_void>> {
    // SAFETY: as in `map_file`.
    unsafe {
        mmap_anonymous(
            None,
            bytes,
            ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
            MapFlags::MAP_SHARED,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn a_mapping_is_zeroed_named_and_shared_with_a_child() {
        let numbers = map_shared_slice::<AtomicU64>("forkchat-test", 3).unwrap();
        assert!(numbers.iter().all(|number| number.load(Ordering::Relaxed) == 0));
        assert!(
            std::fs::read_to_string("/proc/self/maps").unwrap().contains("memfd:forkchat-test")
        );
    }

    #[test]
    fn memory_that_is_given_back_is_free_and_reads_as_zeroes() {
        let words = map_shared_slice::<AtomicU64>("forkchat-given-back", (256 * 1024) / 8).unwrap();
        let resident_kib = || -> u64 {
            let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
            let mapping = maps.split_once("memfd:forkchat-given-back").unwrap().1;
            mapping
                .split_once("Rss:")
                .unwrap()
                .1
                .trim_start()
                .split(' ')
                .next()
                .unwrap()
                .parse()
                .unwrap()
        };
        words.iter().for_each(|word| word.store(7, Ordering::Relaxed));
        assert!(resident_kib() >= 256, "{} KiB", resident_kib());
        give_back(words).unwrap();
        assert_eq!(resident_kib(), 0);
        assert!(words.iter().all(|word| word.load(Ordering::Relaxed) == 0));
        words[0].store(1, Ordering::Relaxed);
        assert_eq!(words[0].load(Ordering::Relaxed), 1);
        assert!(give_back(&words[1..]).is_err(), "it begins within a page");
    }

    #[test]
    fn a_mapping_that_cannot_be_is_an_error() {
        assert!(map_shared_slice::<AtomicU64>("forkchat-test", usize::MAX / 2).is_err());
        assert!(map_shared_slice::<AtomicU64>("forkchat-test", 0).is_err());
    }
}
