//! Another chat server that gets the same load (`--compare`): checks that clients can log in, and
//! which shapes make sense for it.

use super::chat_protocol::{ChatProtocol, IRC_BYTES_MAX};
use super::generator::Generator;
use super::measure::{Side, Timing};
use super::options::ComparedServer;
use super::outcome::Outcome;
use super::report::{Missing, Row, percent};
use super::shape::{Shape, Traffic};
use super::subject::Subject;
use super::target::Target;
use std::time::Duration;

/// How long one client may take to log in.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A server that is slow and uses less than this share of a core is waiting, not working.
const IDLE_SHARE_MAX: f64 = 0.2;
/// In a closed loop on one machine, a p99 above this is slow, in ms.
const SLOW_MS: f64 = 20.0;
/// Fewer logins per second than this are slow.
const FEW_LOGINS: f64 = 500.0;

/// Logs in once, so that errors appear before the measurement.
///
/// # Errors
/// If no server listens there, or if it rejects the login (with its answer).
pub fn check_compared(other: ComparedServer) -> Result<(), String> {
    let shape = Shape { clients: 1, senders: 0, traffic: Traffic::Storm, ..Shape::custom() };
    let tried =
        Generator::new(&Target::compared(other), shape, Some(TIMEOUT)).and_then(|mut generator| {
            generator.slice(Duration::ZERO, Duration::ZERO)?;
            generator.after_slice()
        });
    tried.map_err(|error| format!("cannot compare with {}: {error}", other.address))
}

/// Connects all clients to it, as [`Side::connect`] does.
///
/// # Errors
/// If the shape makes no sense there, or if it rejects a client.
pub fn connect_compared(
    other: ComparedServer,
    shape: Shape,
    timing: &Timing,
) -> Result<Side, Missing> {
    if let Some(why) = objection(other.protocol, shape) {
        return Err(Missing::NotRun(why));
    }
    Side::connect(Target::compared(other), shape, timing).map_err(Missing::Failed)
}

/// Describes the rows in which the compared server was slow although it had almost nothing to do.
pub fn waits(rows: &[Row]) -> Vec<String> {
    let wait = |row: &Row| {
        Some(format!("{}: {}", row.name(), wait_in(row.shape, row.of(Subject::Compared)?)?))
    };
    rows.iter().filter_map(wait).collect()
}

/// Likely reasons why a server waits.
pub const WAIT_CAUSES: &str = "likely because of its flood protection or rate limit (start it \
    without), Nagle's algorithm together with delayed acknowledgements, or a short listen queue \
    (see ss -ltn)";

fn wait_in(shape: Shape, outcome: &Outcome) -> Option<String> {
    let share = outcome.server_share.filter(|&share| share < IDLE_SHARE_MAX)?;
    let slow = match shape.traffic {
        Traffic::Window(_) => {
            let p99 = outcome.latency_ms(0.99).filter(|&ms| ms > SLOW_MS)?;
            format!("p99 {p99:.0} ms")
        }
        Traffic::Rate(_) if outcome.missed_its_rate() => {
            format!("{} % of the pace", percent(outcome.rate_share))
        }
        Traffic::Storm if outcome.per_second < FEW_LOGINS => {
            format!("{:.0} logins/s", outcome.per_second)
        }
        _ => return None,
    };
    Some(format!(
        "{slow}, while the compared server used {} % of a core: it waited and did not work",
        percent(Some(share))
    ))
}

/// Why a shape makes no sense for a server with this protocol.
fn objection(protocol: ChatProtocol, shape: Shape) -> Option<String> {
    let is_irc = protocol == ChatProtocol::Irc;
    if is_irc && shape.udp {
        return Some("there is no IRC over UDP".into());
    }
    let is_too_long = is_irc && shape.has_lines() && shape.bytes > IRC_BYTES_MAX;
    is_too_long.then(|| {
        format!(
            "a line of {} bytes is too long for IRC: give --bytes {IRC_BYTES_MAX} or fewer",
            shape.bytes
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::outcome::outcome_of;

    fn outcome(server_share: Option<f64>, per_second: f64, ms: u64) -> Outcome {
        Outcome { server_share, per_second, ..outcome_of(&[ms]) }
    }

    #[test]
    fn a_server_that_is_slow_and_idle_has_waited() {
        let closed = Shape { traffic: Traffic::Window(1), ..Shape::custom() };
        let storm = Shape { traffic: Traffic::Storm, ..Shape::custom() };
        let text = wait_in(closed, &outcome(Some(0.03), 9_000.0, 40)).unwrap();
        assert!(
            text.starts_with("p99 40 ms, while the compared server used 3.00 % of a core"),
            "{text}"
        );
        assert!(wait_in(storm, &outcome(Some(0.1), 12.0, 900)).unwrap().starts_with("12 logins/s"));
        let paced = Shape { traffic: Traffic::Rate(1.0), ..closed };
        let missed = Outcome { rate_share: Some(0.04), ..outcome(Some(0.01), 9.0, 9) };
        assert!(wait_in(paced, &missed).unwrap().starts_with("4.00 % of the pace, while"));
        for (shape, fine) in [
            (closed, outcome(Some(0.9), 9_000.0, 40)),
            (closed, outcome(Some(0.03), 9_000.0, 2)),
            (closed, outcome(None, 9_000.0, 40)),
            (storm, outcome(Some(0.1), 5_000.0, 40)),
            (paced, outcome(Some(0.03), 1.0, 40)),
        ] {
            assert_eq!(wait_in(shape, &fine), None, "{shape:?}");
        }
    }

    #[test]
    fn irc_has_no_datagrams_and_no_long_lines() {
        let udp = Shape { udp: true, ..Shape::custom() };
        let long = Shape { bytes: 1_000, ..Shape::custom() };
        assert!(
            objection(ChatProtocol::Irc, udp).unwrap().contains("UDP")
                && objection(ChatProtocol::Irc, long).unwrap().contains("--bytes 400")
        );
        assert!(
            [udp, long].iter().all(|&shape| objection(ChatProtocol::Lines, shape).is_none())
                && objection(ChatProtocol::Irc, Shape::custom()).is_none()
        );
    }
}
