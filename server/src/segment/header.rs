//! The segment's header: magic, layout version, sizes, and where each section lies.
//!
//! ```text
//! byte  0            8            16           24           32
//!       ┌────────────┬────────────┬────────────┬────────────┐
//!       │ "forkchat" │ version    │ features   │ bytes      │  of the whole segment
//!    32 ├────────────┼────────────┼────────────┼────────────┤
//!       │ ring_bytes │ slots      │ sessions_  │ snapshot_  │  see `Geometry`
//!       │            │            │ max        │ bytes_max  │
//!    64 ├────────────┼────────────┼────────────┼────────────┘
//!       │ kind       │ offset     │ length     │  inventory: 40 entries, in ascending order of
//!    88 ├────────────┼────────────┼────────────┤  their offsets; unused entries are zeroes
//!       │ kind       │ offset     │ length     │
//!       ⋮            ⋮            ⋮            ⋮
//!  1024 └────────────┴────────────┴────────────┘
//! ```
//!
//! All fields are 64-bit numbers in the machine's byte order, except the magic. `Segment::create`
//! writes the magic last, and the header doesn't change afterwards. Each section begins at a
//! multiple of 64 KiB, so it begins on a page boundary whatever the machine's page size.
//!
//! The version counts layouts: any change of a size, an offset or a meaning in any section raises
//! it. A mutex has the C library's layout, so both programs must use the same C library. A feature
//! changes how the segment is used, or adds to it, without a new layout; a program refuses a
//! segment with a feature that it doesn't know. No feature exists yet.

use crate::sys::memory::Mapping;
use std::fmt;
use std::fs::File;
use std::io;
use std::mem::offset_of;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The first bytes of every segment.
const MAGIC: [u8; 8] = *b"forkchat";
/// The layout that this program makes and understands.
const VERSION: u64 = 1;
/// The features that this program understands, one bit each.
const FEATURES: u64 = 0;
/// Every section begins at a multiple of this. No Linux has larger pages.
pub(super) const SECTION_ALIGN: u64 = 64 * 1024;
/// The number of entries in the inventory.
const INVENTORY_MAX: usize = 40;

/// The sizes of the segment's parts. They don't change during a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// The ring, in bytes; rounded up to whole blocks.
    pub ring_bytes: usize,
    /// The most processes that read the log.
    pub slots: usize,
    /// The most sessions at a time.
    pub sessions_max: usize,
    /// The largest snapshot, in bytes.
    pub snapshot_bytes_max: usize,
}

/// What a section holds. The inventory contains these numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Kind {
    Clock = 1,
    Doorbells = 2,
    Cursors = 3,
    Snapshots = 4,
    SnapshotBuffers = 5,
    Log = 6,
    Checkpoints = 7,
    Heartbeats = 8,
    Quarantine = 9,
    Counters = 10,
    Admission = 11,
    StartGate = 12,
    Stopping = 13,
    StandIn = 14,
}

/// An entry of the inventory. Offset and length are in bytes; the offset counts from the segment's
/// beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Entry {
    kind: u64,
    offset: u64,
    length: u64,
}

/// The header, laid out as the module's drawing shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Header {
    magic: [u8; 8],
    version: u64,
    features: u64,
    bytes: u64,
    ring_bytes: u64,
    slots: u64,
    sessions_max: u64,
    snapshot_bytes_max: u64,
    inventory: [Entry; INVENTORY_MAX],
}

const _: () = assert!(size_of::<Header>() == 1024);
const _: () = assert!(offset_of!(Header, version) == 8 && offset_of!(Header, bytes) == 24);
const _: () = assert!(offset_of!(Header, ring_bytes) == 32 && offset_of!(Header, inventory) == 64);

/// Why a segment can't be attached.
#[derive(Debug)]
pub enum AttachError {
    /// The segment can't be read or mapped: what was attempted, and the error.
    Io(&'static str, io::Error),
    /// The file doesn't begin with the magic, but with these bytes.
    NoSegment([u8; 8]),
    /// The layout has this version, which this program doesn't understand.
    Version(u64),
    /// The segment has these features, some of which this program doesn't understand.
    Features(u64),
    /// The file is shorter than the header says, or too short for a header.
    Size {
        /// The file's length in bytes.
        found: u64,
        /// The length that it should have at least, in bytes.
        needed: u64,
    },
    /// A section lies at an impossible offset, or its length doesn't match the geometry. The text
    /// says which section, and what the inventory contains.
    Section(String),
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttachError::Io(what, error) => write!(f, "cannot {what} the segment: {error}"),
            AttachError::NoSegment(magic) => {
                let (found, expected) = (magic.escape_ascii(), MAGIC.escape_ascii());
                write!(f, "no segment: it begins with \"{found}\", not with \"{expected}\"")
            }
            AttachError::Version(found) => {
                write!(
                    f,
                    "the segment has layout {found}; this program understands layout {VERSION}"
                )
            }
            AttachError::Features(found) => write!(
                f,
                "the segment has features {found:#x}; this program understands {FEATURES:#x}"
            ),
            AttachError::Size { found, needed } => {
                write!(f, "the segment has {found} bytes; its header says {needed}")
            }
            AttachError::Section(what) => write!(f, "the segment's inventory is wrong: {what}"),
        }
    }
}

impl std::error::Error for AttachError {}

impl Header {
    /// Creates the header of a segment with sections of these lengths, in this order.
    pub fn new(geometry: Geometry, sections: &[(Kind, usize)]) -> Header {
        let mut header = Header {
            magic: MAGIC,
            version: VERSION,
            features: FEATURES,
            bytes: 0,
            ring_bytes: geometry.ring_bytes as u64,
            slots: geometry.slots as u64,
            sessions_max: geometry.sessions_max as u64,
            snapshot_bytes_max: geometry.snapshot_bytes_max as u64,
            inventory: [Entry { kind: 0, offset: 0, length: 0 }; INVENTORY_MAX],
        };
        // A size that overflows saturates: mapping it then fails.
        let align = |end: u64| end.checked_next_multiple_of(SECTION_ALIGN).unwrap_or(u64::MAX);
        let mut end = size_of::<Header>() as u64;
        for (entry, &(kind, length)) in header.inventory.iter_mut().zip(sections) {
            *entry = Entry { kind: kind as u64, offset: align(end), length: length as u64 };
            end = entry.offset.saturating_add(entry.length);
        }
        header.bytes = align(end);
        header
    }

    /// Reads a segment's header, and checks whether this program understands its layout.
    pub fn read(file: &File) -> Result<Header, AttachError> {
        let mut bytes = [0; size_of::<Header>()];
        let found = file.metadata().map_err(|error| AttachError::Io("read", error))?.len();
        let needed = bytes.len() as u64;
        if found < needed {
            return Err(AttachError::Size { found, needed });
        }
        file.read_exact_at(&mut bytes, 0).map_err(|error| AttachError::Io("read", error))?;
        let header: Header = zerocopy::transmute!(bytes);
        if header.magic != MAGIC {
            return Err(AttachError::NoSegment(header.magic));
        }
        if header.version != VERSION {
            return Err(AttachError::Version(header.version));
        }
        if header.features & !FEATURES != 0 {
            return Err(AttachError::Features(header.features));
        }
        if found < header.bytes {
            return Err(AttachError::Size { found, needed: header.bytes });
        }
        Ok(header)
    }

    /// Checks that the inventory names these sections in this order, with these lengths and
    /// possible offsets.
    pub fn check(&self, sections: &[(Kind, usize)]) -> Result<(), AttachError> {
        let mut end = size_of::<Header>() as u64;
        for (entry, &(kind, length)) in self.inventory.iter().zip(sections) {
            let Entry { kind: found, offset, length: found_length } = *entry;
            if found != kind as u64 || found_length != length as u64 {
                return Err(AttachError::Section(format!(
                    "section {found} of {found_length} bytes; {kind:?} ({}) of {length} bytes \
                     should be there",
                    kind as u64
                )));
            }
            let section_end = offset.checked_add(found_length).filter(|&end| end <= self.bytes);
            let (true, Some(section_end)) =
                (offset >= end && offset.is_multiple_of(SECTION_ALIGN), section_end)
            else {
                return Err(AttachError::Section(format!("{kind:?} cannot lie at {offset}")));
            };
            end = section_end;
        }
        match self.inventory[sections.len()] {
            Entry { kind: 0, .. } => Ok(()),
            Entry { kind, .. } => Err(AttachError::Section(format!("section {kind} is unknown"))),
        }
    }

    /// The length of the whole segment, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// The sizes with which the segment was created.
    pub fn geometry(&self) -> Geometry {
        Geometry {
            ring_bytes: self.ring_bytes as usize,
            slots: self.slots as usize,
            sessions_max: self.sessions_max as usize,
            snapshot_bytes_max: self.snapshot_bytes_max as usize,
        }
    }

    /// Writes the header to the segment's beginning, the magic last: then the segment is complete.
    fn store(&self, to: &[AtomicU64]) {
        let words: [u64; size_of::<Header>() / 8] = zerocopy::transmute!(*self);
        to.iter().zip(words).skip(1).for_each(|(to, word)| to.store(word, Ordering::Relaxed));
        // A program that attaches the segment gets the descriptor after this store.
        to[0].store(words[0], Ordering::Release);
    }
}

/// A mapped segment, to be divided into its sections.
#[derive(Debug)]
pub(super) struct Sections {
    mapping: Mapping,
    header: Header,
    words: &'static [AtomicU64],
}

impl Sections {
    /// Divides a mapping that has the layout of `header`, or will have it once
    /// [`Sections::complete`] is called.
    pub fn new(mut mapping: Mapping, header: Header) -> Sections {
        let words = take(&mut mapping, 0, size_of::<Header>() / 8);
        Sections { mapping, header, words }
    }

    /// Takes a section that is one `T`.
    pub fn one<T: FromBytes + Sync + 'static>(&mut self, kind: Kind) -> &'static T {
        let (offset, _) = self.range_of(kind);
        &take(&mut self.mapping, offset, 1)[0]
    }

    /// Takes a section that is a slice of `T`s.
    pub fn rows<T: FromBytes + Sync + 'static>(&mut self, kind: Kind) -> &'static [T] {
        let (offset, length) = self.range_of(kind);
        take(&mut self.mapping, offset, length / size_of::<T>())
    }

    /// Takes a section that is an `H` followed by a slice of `T`s.
    pub fn head_and_rows<H, T>(&mut self, kind: Kind) -> (&'static H, &'static [T])
    where
        H: FromBytes + Sync + 'static,
        T: FromBytes + Sync + 'static,
    {
        let (offset, length) = self.range_of(kind);
        let head = &take(&mut self.mapping, offset, 1)[0];
        let count = (length - size_of::<H>()) / size_of::<T>();
        (head, take(&mut self.mapping, offset + size_of::<H>(), count))
    }

    /// Writes the header. The sections must have been initialised before.
    pub fn complete(&self) {
        self.header.store(self.words);
    }

    /// The section's offset and length, in bytes.
    fn range_of(&self, kind: Kind) -> (usize, usize) {
        let entry = self.header.inventory.iter().find(|entry| entry.kind == kind as u64);
        let entry = entry.expect("`Segment` lists all sections that it uses");
        (entry.offset as usize, entry.length as usize)
    }
}

fn take<T: FromBytes + Sync + 'static>(
    mapping: &mut Mapping,
    offset: usize,
    len: usize,
) -> &'static [T] {
    mapping.take(offset, len).expect(
        "the sections are taken in the order of the inventory, which was checked against the \
         mapping's size",
    )
}
