//! Formatting a number of bytes.

use std::fmt;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// A number of bytes, shown in whole KiB or MiB.
pub(super) struct InMib(pub u64);

impl fmt::Display for InMib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < MIB {
            write!(f, "{} KiB", self.0 / KIB)
        } else {
            write!(f, "{} MiB", self.0 / MIB)
        }
    }
}
