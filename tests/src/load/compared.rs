//! Somebody else's server beside ours (`--compare`): whether it is there and lets one in, and which shapes can be put to it.

use super::dialect::{Dialect, IRC_BYTES_MAX};
use super::generator::Generator;
use super::measure::{Side, Timing};
use super::options::Other;
use super::report::Missing;
use super::shape::{Shape, Traffic};
use super::target::Target;
use std::time::Duration;

/// How long one client may take to log in.
const PATIENCE: Duration = Duration::from_secs(5);

/// Logs in once, so that one who can't knows it before all else is measured.
///
/// # Errors
/// If nobody listens there, or it doesn't let one in; with what it said.
pub fn check_compared(other: Other) -> Result<(), String> {
    let shape = Shape { clients: 1, senders: 0, traffic: Traffic::Storm, ..Shape::custom() };
    let tried = Generator::new(&Target::compared(other), shape, Some(PATIENCE)).and_then(|mut generator| {
        generator.slice(Duration::ZERO, Duration::ZERO)?;
        generator.after_slice()
    });
    tried.map_err(|error| format!("cannot compare with {}: {error}", other.address))
}

/// Connects everyone to it, as [`Side::begin`] does.
///
/// # Errors
/// If the shape makes no sense there, or somebody isn't let in.
pub fn begin_compared(other: Other, shape: Shape, timing: &Timing) -> Result<Side, Missing> {
    if let Some(why) = senseless(other.dialect, shape) {
        return Err(Missing::NotRun(why));
    }
    Side::begin(Target::compared(other), shape, timing).map_err(Missing::Failed)
}

/// Why a shape can't be put to a server that speaks this.
fn senseless(dialect: Dialect, shape: Shape) -> Option<String> {
    let is_irc = dialect == Dialect::Irc;
    if is_irc && shape.udp {
        return Some("there is no IRC over UDP".into());
    }
    let is_too_long = is_irc && shape.has_lines() && shape.bytes > IRC_BYTES_MAX;
    is_too_long.then(|| format!("a line of {} bytes is too long for IRC: give --bytes {IRC_BYTES_MAX} or fewer", shape.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn irc_has_no_datagrams_and_no_long_lines() {
        let udp = Shape { udp: true, ..Shape::custom() };
        let long = Shape { bytes: 1_000, ..Shape::custom() };
        assert!(senseless(Dialect::Irc, udp).unwrap().contains("UDP") && senseless(Dialect::Irc, long).unwrap().contains("--bytes 400"));
        assert!(
            [udp, long].iter().all(|&shape| senseless(Dialect::Lines, shape).is_none())
                && senseless(Dialect::Irc, Shape::custom()).is_none()
        );
    }
}
