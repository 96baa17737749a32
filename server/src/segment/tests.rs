use super::*;
use forkchat_common::ids::Micros;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

pub(super) const ME: Slot = Slot::at(0);
pub(super) const OTHER: Slot = Slot::at(1);

pub(super) fn small_segment(ring_bytes: usize, slots: usize) -> &'static Segment {
    Segment::create(Geometry { ring_bytes, slots, sessions_max: 16, snapshot_bytes_max: 1024 })
        .unwrap()
}

pub(super) fn batch(payloads: &[&[u8]]) -> Batch {
    let mut batch = Batch::default();
    payloads.iter().for_each(|payload| batch.push(|bytes| bytes.extend_from_slice(payload)));
    batch
}

fn descriptor(segment: &Segment) -> OwnedFd {
    segment.descriptor().unwrap().try_clone_to_owned().unwrap()
}

#[test]
fn an_attached_segment_is_the_same_memory() {
    let made = small_segment(1 << 16, 2);
    let (start, _) = made.join(ME).unwrap();
    made.log.append(ME, &batch(&[b"said"]), Micros(0)).unwrap();
    made.admission.init(3).unwrap();
    made.stopping.set();
    made.counters.tally.stored.store(7, Ordering::Relaxed);

    let attached = Segment::attach(descriptor(made)).unwrap();
    assert_eq!(attached.geometry, made.geometry);
    let mut reader = Reader::new(&attached.log, start);
    assert_eq!(reader.fetch(9).map(|entry| entry.payload.to_vec()).collect::<Vec<_>>(), [b"said"]);
    assert_eq!((attached.admission.available(), attached.stopping.is_set()), (3, true));
    assert_eq!(attached.counters.tally.stored.load(Ordering::Relaxed), 7);
    assert!(attached.clock.now().since(made.clock.now()) < Micros::SECOND);

    attached.log.append(OTHER, &batch(&[b"and answered"]), Micros(0)).unwrap();
    let mut snapshots = SnapshotWriter::new(&attached.snapshots, &attached.log, OTHER);
    assert!(snapshots.write(start, b"state") && snapshots.publish(start));
    assert_eq!(made.log.tail(), attached.log.tail());
    assert_eq!(made.join(OTHER).unwrap(), (start, Some(b"state".to_vec())));
    let held = attached.log.hold_lock(OTHER);
    let busy = std::thread::spawn(|| made.log.append(ME, &batch(&[b"x"]), Micros(0)));
    assert_eq!(busy.join().unwrap(), Err(AppendError::Busy), "it is one lock");
    drop(held);
}

/// Copies a segment's header into a new file of `length` bytes, and replaces one word of it.
fn changed(segment: &Segment, word: u64, value: [u8; 8], length: u64) -> OwnedFd {
    let file = tempfile(length);
    let mut header = [0; 1024];
    let original = File::from(descriptor(segment));
    original.read_exact_at(&mut header, 0).unwrap();
    file.write_all_at(&header[..length.min(1024) as usize], 0).unwrap();
    if word * 8 < length {
        file.write_all_at(&value, word * 8).unwrap();
    }
    file.into()
}

fn tempfile(length: u64) -> File {
    let flags = nix::sys::memfd::MFdFlags::MFD_CLOEXEC;
    let file = File::from(nix::sys::memfd::memfd_create("test-segment", flags).unwrap());
    file.set_len(length).unwrap();
    file
}

#[test]
fn attach_rejects_files_that_are_no_segment_or_have_an_unknown_layout() {
    let made = small_segment(1 << 16, 2);
    let length = File::from(descriptor(made)).metadata().unwrap().len();
    let refusal = |word, value: u64, length| {
        Segment::attach(changed(made, word, value.to_ne_bytes(), length)).unwrap_err().to_string()
    };
    let magic = u64::from_ne_bytes(*b"\x7fELF\x02\x01\x01\0");
    let cases = [
        (
            0,
            magic,
            length,
            r#"no segment: it begins with "\x7fELF\x02\x01\x01\x00", not with "forkchat""#,
        ),
        (1, 2, length, "the segment has layout 2; this program understands layout 1"),
        (2, 6, length, "the segment has features 0x6; this program understands 0x0"),
        (0, 0, 100, "the segment has 100 bytes; its header says 1024"),
        (99, 0, 65_536, &format!("the segment has 65536 bytes; its header says {length}")),
        (
            5,
            3,
            length,
            "the segment's inventory is wrong: section 2 of 384 bytes; Doorbells (2) of 512 bytes \
             should be there",
        ),
        (12, 65_537, length, "the segment's inventory is wrong: Doorbells cannot lie at 65537"),
        (
            12,
            1 << 63,
            length,
            "the segment's inventory is wrong: Doorbells cannot lie at 9223372036854775808",
        ),
        (50, 77, length, "the segment's inventory is wrong: section 77 is unknown"),
        (99, 0, length, "cannot map the segment: its size is not sealed"),
    ];
    for (word, value, length, expected) in cases {
        assert_eq!(refusal(word, value, length), expected, "word {word}");
    }
}

/// If this test fails and you did not mean to change the layout, a size or an offset has changed by
/// mistake. If you did, raise `VERSION` in `header.rs`, replace the file with the bytes that the
/// message shows, and correct the drawing in the section's file. A program of another version then
/// refuses the segment instead of misreading it.
#[test]
fn the_header_of_a_fixed_geometry_has_not_changed() {
    let golden = include_bytes!("header.golden");
    let geometry = Geometry {
        ring_bytes: 1 << 20,
        slots: 5,
        sessions_max: 1_000,
        snapshot_bytes_max: 100_000,
    };
    let segment = Segment::create(geometry).unwrap();
    let mut header = [0; 1024];
    File::from(descriptor(segment)).read_exact_at(&mut header, 0).unwrap();
    let is_same = header == *golden;
    assert!(is_same, "{}", header.map(|byte| format!("{byte:02x}")).concat());
}
