//! What is put under load: a forkchat server, possibly in one of its models, the bare broadcaster,
//! or another chat server.

use clap::ValueEnum;
use serde::Serialize;

/// How forkchat spreads its connections over processes and threads: the server's `--model`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Model {
    /// One worker per CPU, which multiplexes its connections.
    Pool,
    /// One worker per CPU, two blocking threads per connection.
    Threads,
    /// A process per connection.
    Process,
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A forkchat server without `--model`, or one that runs already.
    Server,
    /// A forkchat server of this model.
    Model(Model),
    /// The bare broadcaster.
    Bare,
    /// The server of `--compare`.
    Compared,
}

impl Model {
    /// All models, in the order in which they are shown.
    pub const ALL: [Model; 3] = [Model::Pool, Model::Threads, Model::Process];

    /// The value of the server's option `--model`.
    pub fn name(self) -> &'static str {
        match self {
            Model::Pool => "pool",
            Model::Threads => "threads",
            Model::Process => "process",
        }
    }

    /// A description for readers who do not know the code.
    pub fn about(self) -> &'static str {
        match self {
            Model::Pool => {
                "One worker process for each CPU. A worker multiplexes all its connections with \
                 epoll: one thread receives from all of them, one thread sends to all of them, and \
                 a queue joins the two. The number of processes and threads doesn't depend on the \
                 number of connections."
            }
            Model::Threads => {
                "One worker process for each CPU. Each connection has two threads in its worker: \
                 one waits for input, the other for room to write. The worker's main thread \
                 applies the log and renders the output. The number of threads grows with the \
                 connections, the number of processes does not."
            }
            Model::Process => {
                "Each TCP connection is served by its own process, which is forked when the client \
                 connects and has a receive thread and a send thread. Each process has a copy of \
                 the chat's state, and a line to a room of N wakes N processes. A fault in one \
                 process affects one connection. UDP sessions share one worker."
            }
        }
    }

    /// A reason for the model that follows from its design and that no load shows.
    pub fn choose_if(self) -> &'static str {
        match self {
            Model::Pool => {
                "you have no reason for another model: it is the default, and its number of \
                 processes and threads stays the same"
            }
            Model::Threads => {
                "you want the code for one client to read from top to bottom, with calls that block"
            }
            Model::Process => {
                "you want to limit, account, trace or kill the process of a single client; no \
                 process touches another one's memory"
            }
        }
    }

    /// A reason against the model that follows from its design and that no load shows.
    pub fn choose_not_if(self) -> &'static str {
        match self {
            Model::Pool => {
                "you add code that may block: all clients of the worker would wait for it"
            }
            Model::Threads => {
                "stacks and wake-ups are scarce: each client has two threads, and threads stay in \
                 their pool after clients have left"
            }
            Model::Process => {
                "the chat's state is large or changes often: each process has a copy of it"
            }
        }
    }

    /// A picture of the processes and threads between the connections and the log.
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
    /// Its name in JSON and CSV.
    pub fn key(self) -> &'static str {
        match self {
            Subject::Server => "server",
            Subject::Model(model) => model.name(),
            Subject::Bare => "bare",
            Subject::Compared => "compared",
        }
    }

    /// Its name in texts.
    pub fn text(self) -> &'static str {
        match self {
            Subject::Bare => "bare broadcaster",
            Subject::Compared => "compared server",
            other => other.key(),
        }
    }
}
