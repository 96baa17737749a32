//! The text of a line. It names its sender and its number, and differs from every other line:
//!
//! ```text
//! ~0a3f 0000002c ^h9Kd…filler…
//!  └ sender └ number  └ follows from both
//! ```
//!
//! Every receiver knows what each byte must be, so a changed byte is found.

use super::shape::{BYTES_MAX, BYTES_MIN};

/// `~`, sender, space, number, space.
const HEAD: usize = 1 + 4 + 1 + 8 + 1;
const _: () = assert!(HEAD < BYTES_MIN);
/// The number of positions in the filler at which the part of a line may begin.
const STARTS: usize = 1 << 16;

/// Writes and reads lines of one length.
#[derive(Debug)]
pub struct Payload {
    /// Without the LF.
    length: usize,
    filler: Box<[u8]>,
}

impl Payload {
    /// For lines of this many bytes, with the LF.
    pub fn new(bytes: usize) -> Payload {
        // Xorshift with a constant seed. Source: Marsaglia, Xorshift RNGs, 2003.
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let printable = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-"
                [(state >> 58) as usize]
        };
        Payload { length: bytes - 1, filler: (0..STARTS + BYTES_MAX).map(printable).collect() }
    }

    /// Appends a line and its LF.
    pub fn write(&self, sender: u16, number: u32, line: &mut Vec<u8>) {
        let digits = |value: u64, count: u32| {
            (0..count)
                .rev()
                .map(move |digit| b"0123456789abcdef"[(value >> (4 * digit) & 15) as usize])
        };
        line.push(b'~');
        line.extend(digits(sender.into(), 4));
        line.push(b' ');
        line.extend(digits(number.into(), 8));
        line.push(b' ');
        line.extend_from_slice(self.filler_of(sender, number));
        line.push(b'\n');
    }

    /// Splits a received line, without its LF, into what the server put before it, the sender and
    /// the number. `None` if the line was changed.
    pub fn read<'l>(&self, line: &'l [u8]) -> Option<(&'l [u8], u16, u32)> {
        let (prefix, payload) = line.split_at_checked(line.len().checked_sub(self.length)?)?;
        let (head, filler) = payload.split_first_chunk::<HEAD>()?;
        let [b'~', sender @ .., b' '] = head else { return None };
        let (sender, number) = (value(&sender[..4])? as u16, value(&sender[5..])?);
        (head[5] == b' ' && filler == self.filler_of(sender, number))
            .then_some((prefix, sender, number))
    }

    fn filler_of(&self, sender: u16, number: u32) -> &[u8] {
        let mixed =
            (u64::from(sender) << 32 | u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let start = (mixed >> 48) as usize;
        &self.filler[start..start + self.length - HEAD]
    }
}

fn value(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, &digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u32::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_line_is_read_as_it_was_written(
            bytes in BYTES_MIN..=BYTES_MAX, sender: u16, number: u32
        ) {
            let payload = Payload::new(bytes);
            let mut line = b"[#room] nick: ".to_vec();
            payload.write(sender, number, &mut line);
            prop_assert_eq!(line.len(), 14 + bytes);
            prop_assert_eq!(line.pop(), Some(b'\n'));
            prop_assert!(!line.contains(&b'\n'));
            prop_assert_eq!(payload.read(&line), Some((&b"[#room] nick: "[..], sender, number)));
        }

        #[test]
        fn a_changed_byte_is_found(sender: u16, number: u32, at in 0..99_usize, bit in 0..8) {
            let payload = Payload::new(100);
            let mut line = Vec::new();
            payload.write(sender, number, &mut line);
            line.pop();
            line[at] ^= 1_u8 << bit;
            prop_assert_eq!(payload.read(&line), None);
            prop_assert_eq!(payload.read(&line[..98]), None);
        }
    }
}
