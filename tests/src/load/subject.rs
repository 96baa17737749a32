//! Who is put under load, by name: a server, one of the models that forkchat can be run in, the yardstick, or somebody else's server.

use clap::ValueEnum;
use serde::Serialize;

/// How forkchat spreads its connections over processes and threads: the server's `--model`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Model {
    /// A worker per CPU, each multiplexes its connections.
    Pool,
    /// A worker per CPU, two blocking threads per connection.
    Threads,
    /// A process per connection.
    Process,
}

/// Whose measurements these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A forkchat server, as it is without `--model`, or one that is there already.
    Server,
    /// A forkchat server of this model.
    Model(Model),
    /// The bare broadcaster.
    Bare,
    /// The server of `--compare`.
    Compared,
}

impl Model {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Model; 3] = [Model::Pool, Model::Threads, Model::Process];

    /// As the server's `--model` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Model::Pool => "pool",
            Model::Threads => "threads",
            Model::Process => "process",
        }
    }

    /// What it is, in a sentence or two for who has never read the code.
    pub fn about(self) -> &'static str {
        match self {
            Model::Pool => {
                "One worker process for each CPU. A worker multiplexes all its connections with epoll: one thread receives from all of them, \
                 one thread sends to all of them, and a queue joins the two. The number of processes and threads doesn't depend on the number of connections."
            }
            Model::Threads => {
                "One worker process for each CPU. Each connection has two threads of its own in its worker, one that blocks in receiving and one that blocks in \
                 sending; the worker's main thread applies the log and renders what everybody is to be sent. Threads grow with the connections, processes don't."
            }
            Model::Process => {
                "Each TCP connection is served by a process of its own, forked when it comes, with a receive and a send thread. Each process has its own copy of the \
                 chat's state, and a line to a room of N wakes N processes. What goes wrong in one process is one connection's affair. UDP sessions share one worker."
            }
        }
    }

    /// What speaks for it that no load shows: a property of the model, not a measurement.
    pub fn choose_if(self) -> &'static str {
        match self {
            Model::Pool => "you have no reason for another one: it is the default, and the cheapest for each client",
            Model::Threads => "the code for one client shall read straight from top to bottom, and may block",
            Model::Process => {
                "a client's process shall be limited, accounted, traced or killed by itself; nothing that happens in it touches another's memory"
            }
        }
    }

    /// What speaks against it that no load shows.
    pub fn choose_not_if(self) -> &'static str {
        match self {
            Model::Pool => "something that is done for a client may block: everybody of its worker would wait",
            Model::Threads => {
                "you count stacks and wake-ups, two of each for a client, or threads: they stay in their thread pool after clients leave"
            }
            Model::Process => "the chat's state is large, or changes often: each process has a copy of it",
        }
    }

    /// Who stands in the picture between the supervisor and the log.
    pub fn picture(self) -> &'static str {
        match self {
            Model::Pool => {
                "connections   c c c c c c      c c c c c c\n\
                 \x20             └─┴─┼─┴─┴─┘      └─┴─┼─┴─┴─┘\n\
                 worker   [ epoll: receive ]  [ epoll: receive ]   one per CPU,\n\
                 \x20        [ epoll: send    ]  [ epoll: send    ]   2 threads each\n\
                 log      ════════════════════════════════════"
            }
            Model::Threads => {
                "connections   c      c      c          c      c\n\
                 \x20             │      │      │          │      │\n\
                 threads    [r][s] [r][s] [r][s]    [r][s] [r][s]  2 per connection\n\
                 worker   [ main: apply, render ] [ main        ]  one per CPU\n\
                 log      ════════════════════════════════════════"
            }
            Model::Process => {
                "connections   c        c        c        c\n\
                 \x20             │        │        │        │\n\
                 worker     [r │ s]  [r │ s]  [r │ s]  [r │ s]   a process per connection,\n\
                 \x20          [state]  [state]  [state]  [state]   with its copy of the state\n\
                 log      ════════════════════════════════════"
            }
        }
    }
}

impl Subject {
    /// Its name among a row's members in JSON, and in CSV.
    pub fn key(self) -> &'static str {
        match self {
            Subject::Server => "server",
            Subject::Model(model) => model.name(),
            Subject::Bare => "bare",
            Subject::Compared => "compared",
        }
    }

    /// Its name for people.
    pub fn text(self) -> &'static str {
        match self {
            Subject::Bare => "bare broadcaster",
            Subject::Compared => "compared server",
            other => other.key(),
        }
    }
}
