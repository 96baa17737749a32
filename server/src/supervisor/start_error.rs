//! Why the server can't start, with what the operator can do about it.

use super::in_mib::InMib;
use super::{EXIT_FAILED, EXIT_STOPPED, EXIT_USAGE};
use crate::sys::limits::own_limit;
use nix::errno::Errno;
use nix::sys::resource::Resource;
use std::fmt;
use std::time::Duration;

/// Port 0 isn't among them: it stands for any free port, which is a higher one.
const PORTS_THAT_NEED_A_PRIVILEGE: std::ops::Range<u16> = 1..1_024;

/// The advice after an error if a system call is refused.
const DOCTOR_SHOWS: &str = "; forkchat-server doctor shows what this system refuses";

/// Why the server can't start.
#[derive(Debug)]
pub enum StartError {
    /// An address can't be listened on.
    Listen(&'static str, std::net::SocketAddr, std::io::Error),
    /// More connections were asked for than are possible.
    TooManyConnections {
        /// `--max-connections`, or 1 if it isn't given.
        asked: u64,
        /// How many are possible.
        allowed: u64,
        /// What limits them.
        bound: Bound,
    },
    /// There is less memory than needed.
    TooLittleMemory(TooLittleMemory),
    /// Both transports are off.
    NowhereToListen,
    /// The options for a transport contradict each other or can't be followed: which transport, and
    /// why.
    Contradiction(&'static str, &'static str),
    /// A process could not start: its name, how it ended and the error that it logged.
    Child(String),
    /// A process was not ready in time: its name, and how long it had.
    NotReady(String, Duration),
    /// The server was stopped before it was ready.
    Stopped,
    /// The options ask for scheduling that needs a privilege.
    NotAllowed {
        /// The option and its value.
        asked: String,
        /// The resource limit that would allow it.
        limit: Limit,
        /// How high that limit would have to be.
        at_least: u8,
        /// This process seems to have the privilege, so something else forbids it.
        has_right: bool,
    },
    /// System calls without which no client can be served are refused.
    Refused(String),
    /// The system refused an operation: which, and its error.
    System(&'static str, std::io::Error),
}

impl StartError {
    /// The exit code of a server that fails to start for this reason.
    pub fn exit_code(&self) -> i32 {
        match self {
            StartError::NowhereToListen | StartError::Contradiction(..) => EXIT_USAGE,
            StartError::Stopped => EXIT_STOPPED,
            _ => EXIT_FAILED,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Listen(transport, address, error) => write!(
                f,
                "cannot listen on {transport} {address}: {}",
                why_not_listening(transport, address, error)
            ),
            StartError::NowhereToListen => {
                f.write_str("nothing to listen on: --tcp and --udp are both off; leave one on")
            }
            StartError::Contradiction(transport, why) => {
                write!(f, "cannot use --{transport}: {why}")
            }
            StartError::TooManyConnections { allowed: 0, bound, .. } => {
                write!(f, "no connection fits: {bound} is too low; raise it")
            }
            StartError::TooManyConnections { asked, allowed, bound } => {
                write!(
                    f,
                    "cannot serve {asked} connections: {bound} allows {allowed}; raise it or lower \
                     --max-connections"
                )
            }
            StartError::TooLittleMemory(too_little) => too_little.fmt(f),
            StartError::NotAllowed { asked, limit, at_least, has_right: false } => {
                write!(
                    f,
                    "cannot use {asked}: it needs CAP_SYS_NICE or a limit on {limit} of at least \
                     {at_least}"
                )
            }
            StartError::NotAllowed { asked, has_right: true, .. } => {
                write!(
                    f,
                    "cannot use {asked}: this process has the right to it, but its user namespace \
                     or control group (cpu.rt_runtime_us) has not"
                )
            }
            StartError::Child(death) => write!(f, "cannot serve: {death}"),
            StartError::NotReady(name, time) => {
                write!(
                    f,
                    "cannot serve: {name} was not ready within {} s; is the machine very busy?",
                    time.as_secs()
                )
            }
            StartError::Stopped => f.write_str("stopped before it was ready"),
            StartError::Refused(failure) => write!(f, "{failure}{DOCTOR_SHOWS}"),
            StartError::System(what, error) => write!(f, "cannot {what}: {error}{}", advice(error)),
        }
    }
}

/// Why an address can't be listened on, with the remedy.
fn why_not_listening(
    transport: &str,
    address: &std::net::SocketAddr,
    error: &std::io::Error,
) -> String {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!("address already in use; is a server running? --{transport} chooses another")
        }
        std::io::ErrorKind::PermissionDenied
            if PORTS_THAT_NEED_A_PRIVILEGE.contains(&address.port()) =>
        {
            format!(
                "permission denied; ports below 1024 need a privilege, --{transport} chooses \
                 another"
            )
        }
        _ => format!("{error}{}", advice(error)),
    }
}

/// What the operator can do about a system error, to be put after it; empty if that is unknown.
fn advice(error: &std::io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOMEM) => match own_limit(Resource::RLIMIT_AS) {
            Some(bytes) => format!(
                "; the limit on address space (ulimit -v) is {} MiB: lift it, or lower --ring, \
                 --max-connections or --workers",
                bytes >> 20
            ),
            None => "; lower --ring, --max-connections or --workers".to_owned(),
        },
        Some(Errno::EAGAIN) => "; raise the limit on processes (ulimit -u, pids.max)".to_owned(),
        Some(Errno::EMFILE) => "; raise the limit on open files (ulimit -Hn)".to_owned(),
        Some(Errno::ENOSYS | Errno::EPERM) => DOCTOR_SHOWS.to_owned(),
        _ => String::new(),
    }
}

/// What limits the number of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// `--max-connections`.
    Asked,
    /// The limit on open files.
    Files,
    /// The limit on processes and threads with this name.
    Tasks(&'static str),
    /// The limit on memory with this name.
    Memory(&'static str),
    /// The program's own maximum.
    Program,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bound::Asked => "--max-connections",
            Bound::Files => "the limit on open files (ulimit -Hn)",
            Bound::Tasks(limit) | Bound::Memory(limit) => limit,
            Bound::Program => "what forkchat is made for",
        })
    }
}

/// There isn't enough memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLittleMemory {
    /// The size of the ring that was asked for, or else the smallest, in bytes.
    pub ring: u64,
    /// The number of connections that was asked for, or else the smallest.
    pub connections: u64,
    /// How high the limit would have to be, in bytes.
    pub needs: u64,
    /// The name of the limit.
    pub limit: &'static str,
    /// How high the limit is, in bytes.
    pub allows: u64,
}

impl fmt::Display for TooLittleMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TooLittleMemory { ring, connections, needs, limit, allows } = *self;
        write!(
            f,
            "cannot serve {connections} connections with a ring of {}: {limit} allows {}, and they \
             need {}; raise it, or lower --max-connections or --ring",
            InMib(ring),
            InMib(allows),
            InMib(needs)
        )
    }
}

/// A resource limit that says how high a process may raise its priority without CAP_SYS_NICE.
/// Source: getrlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// RLIMIT_NICE.
    Nice,
    /// RLIMIT_RTPRIO.
    RealTime,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::Nice => "nice (ulimit -e)",
            Limit::RealTime => "real-time priority (ulimit -r)",
        })
    }
}
