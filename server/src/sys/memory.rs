//! Memory that a process shares with the processes that it forks afterwards.
//!
//! Each mapping is a separate memfd, so `/proc/PID/maps` shows its name. Where memfds are refused
//! (an old kernel, a container's profile, a limit on file sizes) it has no name and no descriptor.
//! It is never unmapped: its memory is freed when the last process that maps it ends. The kernel
//! allocates a page when it is first written, so a mapping may be as large as it could ever need to
//! be.

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, mmap_anonymous};
use nix::sys::stat::fstat;
use nix::unistd::{SysconfVar, ftruncate, sysconf};
use std::ffi::c_void;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;
use zerocopy::FromBytes;

/// Maps one zeroed `T`. `/proc/PID/maps` shows it as `name`.
pub fn map_shared<T: FromBytes + Sync + 'static>(name: &str) -> io::Result<&'static T> {
    Ok(&map_shared_slice(name, 1)?[0])
}

/// Maps `len` zeroed `T`s in a row, like [`map_shared`].
pub fn map_shared_slice<T: FromBytes + Sync + 'static>(
    name: &str,
    len: usize,
) -> io::Result<&'static [T]> {
    let bytes = size_of::<T>().checked_mul(len).ok_or_else(|| too_large(name))?;
    let (mut mapping, _) = Mapping::create(name, bytes)?;
    mapping.take(0, len).ok_or_else(|| too_large(name))
}

/// Shared memory that is handed out piece by piece, in ascending order.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<c_void>,
    bytes: usize,
    /// The bytes before this were handed out or skipped.
    taken: usize,
}

impl Mapping {
    /// Maps `bytes` zeroed bytes, and returns the memfd's descriptor, with which other processes
    /// can map them, too. There is no descriptor where memfds are refused. The file is sealed, so
    /// no process can resize it. `/proc/PID/maps` shows it as `name`.
    ///
    /// # Errors
    /// `ENOMEM`; `OutOfMemory` for zero bytes, or more than the address space has.
    pub fn create(name: &str, bytes: usize) -> io::Result<(Mapping, Option<OwnedFd>)> {
        let length = NonZeroUsize::new(bytes).ok_or_else(|| too_large(name))?;
        // A limit on file sizes (`ulimit -f`) applies to a memfd, too, but not to a mapping without
        // a file.
        let made = memfd(name, length).and_then(|file| Ok((map_file(&file, length)?, Some(file))));
        let (start, file) = made.or_else(|_| Ok::<_, io::Error>((map_anonymous(length)?, None)))?;
        Ok((Mapping { start: keep_from_core(start, length), bytes, taken: 0 }, file))
    }

    /// Maps the first `bytes` bytes of a file. `file` is a descriptor that [`Mapping::create`]
    /// returned, in any process.
    ///
    /// # Errors
    /// `InvalidInput` if the file is shorter or may become shorter. Those of mmap(2).
    pub fn attach(file: BorrowedFd<'_>, bytes: usize) -> io::Result<Mapping> {
        let refused = |why: &str| io::Error::new(io::ErrorKind::InvalidInput, why);
        let seals = fcntl(file, FcntlArg::F_GET_SEALS).map_err(|_| refused("it is no memfd"))?;
        if !SealFlag::from_bits_retain(seals).contains(SealFlag::F_SEAL_SHRINK) {
            return Err(refused("its size is not sealed"));
        }
        let length = NonZeroUsize::new(bytes).ok_or_else(|| refused("it is empty"))?;
        if (fstat(file)?.st_size as u64) < bytes as u64 {
            return Err(refused("it is too short"));
        }
        let start = keep_from_core(map_file(file, length)?, length);
        Ok(Mapping { start, bytes, taken: 0 })
    }

    /// Hands out `len` `T`s in a row, starting at byte `offset`. Each byte is handed out once, in
    /// ascending order. `None` if the `T`s don't fit, if they aren't aligned, or if bytes at or
    /// after `offset` were handed out before.
    ///
    /// `FromBytes` guarantees that all zeroes is a valid `T`, and that it holds no pointer, which
    /// would be meaningless in another process. `Sync` guarantees that several threads may use it
    /// at once, and the same holds for several processes.
    pub fn take<T: FromBytes + Sync + 'static>(
        &mut self,
        offset: usize,
        len: usize,
    ) -> Option<&'static [T]> {
        const { assert!(align_of::<T>() <= 4096, "a mapping is aligned to a page") };
        let end = size_of::<T>().checked_mul(len)?.checked_add(offset)?;
        if offset < self.taken || end > self.bytes || !offset.is_multiple_of(align_of::<T>()) {
            return None;
        }
        self.taken = end;
        // SAFETY: the bytes lie within the mapping (checked). It begins on a page boundary, so they
        // are aligned (checked), and it is never unmapped, so they are valid for 'static. They are
        // initialised: zeroes, or what a process with the mapping wrote. T: FromBytes accepts any
        // bytes as values, T: Sync allows concurrent use. No other type has these bytes in this
        // process: each byte is handed out once. If the mapping is a file, no process can resize
        // it: its size is sealed.
        Some(unsafe {
            std::slice::from_raw_parts(self.start.byte_add(offset).as_ptr().cast::<T>(), len)
        })
    }
}

fn too_large(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::OutOfMemory, format!("cannot share {name}: too large"))
}

/// Excludes a new mapping from core files: writing it after a crash would delay the successor.
fn keep_from_core(start: NonNull<c_void>, bytes: NonZeroUsize) -> NonNull<c_void> {
    // SAFETY: the range is a mapping that was just created. DONTDUMP doesn't change its contents.
    // If the call is refused, only core files are larger.
    let _ = unsafe { madvise(start, bytes.get(), MmapAdvise::MADV_DONTDUMP) };
    start
}

/// Returns the memory of a mapping's whole pages to the system. They read as zeroes afterwards, and
/// take memory again when they are written. Source: madvise(2), MADV_REMOVE.
///
/// # Errors
/// `EINVAL` if the slice doesn't begin on a page boundary, or isn't shared memory.
pub fn release_memory(mapping: &'static [AtomicU64]) -> io::Result<()> {
    let page = sysconf(SysconfVar::PAGE_SIZE)?
        .and_then(|bytes| usize::try_from(bytes).ok())
        .unwrap_or(4096);
    // Whole pages only: the kernel would round the length up, to memory that may belong to
    // something else.
    let whole_pages = size_of_val(mapping) / page * page;
    let start = NonNull::from(mapping).cast();
    // SAFETY: the range lies within the slice, which lives for ever. Its words become zeroes, as by
    // a store in another thread or process, which may happen to an atomic at any time.
    unsafe { madvise(start, whole_pages, MmapAdvise::MADV_REMOVE) }.map_err(io::Error::from)
}

fn memfd(name: &str, bytes: NonZeroUsize) -> nix::Result<OwnedFd> {
    let file = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    ftruncate(&file, bytes.get() as libc::off_t)?;
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file)
}

fn map_file(file: impl AsFd, bytes: NonZeroUsize) -> nix::Result<NonNull<c_void>> {
    // SAFETY: a new mapping at an address that the kernel chooses overlaps nothing that exists.
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

fn map_anonymous(bytes: NonZeroUsize) -> nix::Result<NonNull<c_void>> {
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
    use std::fs::File;
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
    fn released_memory_is_free_and_reads_as_zeroes() {
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
        release_memory(words).unwrap();
        assert_eq!(resident_kib(), 0);
        assert!(words.iter().all(|word| word.load(Ordering::Relaxed) == 0));
        words[0].store(1, Ordering::Relaxed);
        assert_eq!(words[0].load(Ordering::Relaxed), 1);
        assert!(release_memory(&words[1..]).is_err(), "it begins within a page");
    }

    #[test]
    fn a_mapping_hands_out_each_byte_once_and_within_its_bounds() {
        let (mut mapping, file) = Mapping::create("forkchat-test", 4096).unwrap();
        let first = mapping.take::<AtomicU64>(0, 1).unwrap();
        assert!(mapping.take::<AtomicU64>(0, 1).is_none(), "it was handed out before");
        assert!(mapping.take::<AtomicU64>(12, 1).is_none(), "it is not aligned");
        assert!(mapping.take::<AtomicU64>(4088, 2).is_none(), "the mapping ends before");
        assert!(mapping.take::<AtomicU64>(8, usize::MAX).is_none());
        let last = mapping.take::<AtomicU64>(4088, 1).unwrap();
        let mut other = Mapping::attach(file.as_ref().unwrap().as_fd(), 4096).unwrap();
        let seen = other.take::<AtomicU64>(0, 512).unwrap();
        first[0].store(1, Ordering::Relaxed);
        last[0].store(2, Ordering::Relaxed);
        assert_eq!([0, 511].map(|i| seen[i].load(Ordering::Relaxed)), [1, 2]);
    }

    #[test]
    fn only_a_file_that_cannot_shrink_is_mapped() {
        let refused = |file: BorrowedFd<'_>| Mapping::attach(file, 8192).unwrap_err().to_string();
        let (_, sealed) = Mapping::create("forkchat-test", 4096).unwrap();
        let sealed = sealed.unwrap();
        assert_eq!(refused(sealed.as_fd()), "it is too short");
        assert_eq!(ftruncate(&sealed, 0), Err(nix::errno::Errno::EPERM));
        let unsealed = memfd_create("forkchat-test", MFdFlags::MFD_ALLOW_SEALING).unwrap();
        assert_eq!(refused(unsealed.as_fd()), "its size is not sealed");
        let regular = File::open("/proc/self/exe").unwrap();
        assert_eq!(refused(regular.as_fd()), "it is no memfd");
    }

    #[test]
    fn a_mapping_of_an_impossible_size_is_an_error() {
        assert!(map_shared_slice::<AtomicU64>("forkchat-test", usize::MAX / 2).is_err());
        assert!(map_shared_slice::<AtomicU64>("forkchat-test", 0).is_err());
    }
}
