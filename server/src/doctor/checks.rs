//! The checks, a row each, and the guarantees that depend on them.

use super::{Failure, calls, connections, processes, startup};
use std::fmt;
use std::time::Instant;

/// A test of something that the kernel must do.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// The name of the check.
    pub name: &'static str,
    /// What the kernel does if the check holds.
    pub requirement: &'static str,
    /// What happens without it.
    pub without_it: &'static str,
    /// Which of forkchat's guarantees depend on it.
    pub guarantees: &'static [Guarantee],
    /// Whether the server itself runs it at its start.
    pub at_start: AtStart,
    pub(super) run: fn(Instant) -> Result<(), Failure>,
}

/// Whether the server runs a check at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtStart {
    /// It does, and refuses to start if the check fails.
    Needed,
    /// It does, and only warns if the check fails.
    Warned,
    /// It doesn't: the check needs other processes or time, or the start itself shows the result.
    Untried,
}

/// What forkchat guarantees, as far as that depends on the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarantee {
    /// A server can run.
    Service,
    /// The death of a worker has no effect on a connection.
    Connections,
    /// An unfinished line costs no CPU time.
    UnfinishedLines,
    /// The death of a process leaves the log intact.
    Log,
    /// No process outlives the supervisor.
    NoOrphans,
}

impl Guarantee {
    /// All guarantees, in the order in which they are reported.
    pub const ALL: [Guarantee; 5] = [
        Guarantee::Service,
        Guarantee::Connections,
        Guarantee::UnfinishedLines,
        Guarantee::Log,
        Guarantee::NoOrphans,
    ];
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Guarantee::Service => "the server's processes start, and clients are served",
            Guarantee::Connections => {
                "a worker's death closes no connection; no byte of it is lost and none comes twice"
            }
            Guarantee::UnfinishedLines => "an unfinished line costs no CPU time",
            Guarantee::Log => "a death at any moment leaves the log whole and its lock free",
            Guarantee::NoOrphans => "no process outlives the supervisor",
        })
    }
}

/// All checks, in the order in which they are run.
pub const CHECKS: [Check; 18] = [
    Check {
        name: "clients' calls",
        requirement: "futex, accept4, recvfrom, sendto, recvmsg and sendmsg are allowed",
        without_it: "no client is served, and the server doesn't start",
        guarantees: &[Guarantee::Service, Guarantee::Connections],
        at_start: AtStart::Needed,
        run: calls::of_clients,
    },
    Check {
        name: "waiting for an end",
        requirement: "a process waits for the end of its children (wait4)",
        without_it: "no process that died is replaced, and the server doesn't start",
        guarantees: &[Guarantee::Service, Guarantee::Connections],
        at_start: AtStart::Needed,
        run: calls::of_waiting,
    },
    Check {
        name: "killing",
        requirement: "a process kills its children (kill)",
        without_it: "no process that hangs is replaced",
        guarantees: &[Guarantee::Service, Guarantee::Connections],
        at_start: AtStart::Warned,
        run: calls::of_killing,
    },
    Check {
        name: "threads",
        requirement: "a child starts threads (clone3 or clone)",
        without_it: "no worker can begin",
        guarantees: &[Guarantee::Service],
        at_start: AtStart::Untried,
        run: startup::threads,
    },
    Check {
        name: "waiting",
        requirement: "epoll waits for an eventfd, and for no longer than it is to",
        without_it: "no worker can begin",
        guarantees: &[Guarantee::Service],
        at_start: AtStart::Untried,
        run: startup::waiting,
    },
    Check {
        name: "signals",
        requirement: "a signalfd delivers a blocked signal",
        without_it: "the supervisor can't begin",
        guarantees: &[Guarantee::Service],
        at_start: AtStart::Untried,
        run: startup::signals,
    },
    Check {
        name: "own descriptors",
        requirement: "a child has the descriptors that it was given, and no other",
        without_it: "no child can begin",
        guarantees: &[Guarantee::Service],
        at_start: AtStart::Untried,
        run: processes::own_descriptors,
    },
    Check {
        name: "input position",
        requirement: "TCP_INFO and SIOCINQ tell what a dead worker had taken",
        without_it: "after a worker's death a line may be lost or said twice",
        guarantees: &[Guarantee::Connections],
        at_start: AtStart::Warned,
        run: connections::input_position,
    },
    Check {
        name: "output position",
        requirement: "TCP_INFO and SIOCOUTQ tell what a dead worker had written",
        without_it: "after a worker's death a client may miss output or get it twice",
        guarantees: &[Guarantee::Connections],
        at_start: AtStart::Warned,
        run: connections::output_position,
    },
    Check {
        name: "peek and consume",
        requirement: "MSG_PEEK leaves input where it is, MSG_TRUNC takes it without a copy",
        without_it: "a line that a worker had read when it died may be lost",
        guarantees: &[Guarantee::Connections],
        at_start: AtStart::Warned,
        run: connections::peek_and_consume,
    },
    Check {
        name: "urgent data",
        requirement: "SO_OOBINLINE makes urgent bytes a part of the stream",
        without_it: "urgent data, as in Telnet's Synch, makes the input position wrong",
        guarantees: &[Guarantee::Connections],
        at_start: AtStart::Warned,
        run: connections::urgent_data,
    },
    Check {
        name: "low-water mark",
        requirement: "SO_RCVLOWAT holds back readiness until there is enough, or the end",
        without_it: "an unfinished line costs CPU time, or stays unheard",
        guarantees: &[Guarantee::UnfinishedLines],
        at_start: AtStart::Warned,
        run: connections::low_water_mark,
    },
    Check {
        name: "second holder",
        requirement: "a connection outlives the process that served it while another holds it",
        without_it: "a worker's death ends its connections, or leaves them unusable",
        guarantees: &[Guarantee::Connections],
        at_start: AtStart::Untried,
        run: processes::second_holder,
    },
    Check {
        name: "descriptor passing",
        requirement: "a message carries a descriptor to another process",
        without_it: "no worker gets a connection",
        guarantees: &[Guarantee::Service, Guarantee::Connections],
        at_start: AtStart::Untried,
        run: processes::descriptor_passing,
    },
    Check {
        name: "robust mutex",
        requirement: "the lock of a killed process goes to the next, who is told",
        without_it: "a death under the log's lock stops every process",
        guarantees: &[Guarantee::Log],
        at_start: AtStart::Untried,
        run: processes::robust_mutex,
    },
    Check {
        name: "robust list",
        requirement: "the kernel knows which locks a thread holds (set_robust_list)",
        without_it: "a death under the log's lock stops every process",
        guarantees: &[Guarantee::Log],
        at_start: AtStart::Warned,
        run: startup::robust_list,
    },
    Check {
        name: "shared memory",
        requirement: "what a process wrote to shared memory is there for the others, also after \
            its death",
        without_it: "the processes have no log in common",
        guarantees: &[Guarantee::Service, Guarantee::Log],
        at_start: AtStart::Untried,
        run: processes::shared_memory,
    },
    Check {
        name: "parent-death signal",
        requirement: "a process is killed when its parent is",
        without_it: "workers are left over when the supervisor is killed",
        guarantees: &[Guarantee::NoOrphans],
        at_start: AtStart::Untried,
        run: processes::parent_death_signal,
    },
];
