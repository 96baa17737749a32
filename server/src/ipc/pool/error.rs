//! Why a job has no result.

use crate::ipc::joinable_queue::TASK_BYTES_MAX;
use crate::ipc::mutex::LockError;
use crate::ipc::process::End;
use std::error::Error;
use std::fmt;
use std::io;

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobError {
    /// The function panicked with this message.
    Panicked(String),
    /// The process that did the job died.
    Died(End),
    /// The result is longer than [`TASK_BYTES_MAX`].
    TooLong,
    /// The pool was terminated before the job was done.
    Terminated,
    /// There is no such job, or its result was taken before.
    Unknown,
    /// The pool didn't accept the job.
    NotTaken(ApplyError),
    /// No process of the pool is left, and the system refuses to start another one.
    NoProcess(io::ErrorKind),
}

/// Why the pool doesn't accept a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyError {
    /// The pool is closed or terminated.
    Closed,
    /// The job is longer than [`TASK_BYTES_MAX`].
    TooLong,
    /// The queue's lock can't be acquired: a programming error.
    Lock(LockError),
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JobError::Panicked(message) => write!(f, "the job panicked: {message}"),
            JobError::Died(end) => write!(f, "the process that did the job {end}"),
            JobError::TooLong => write!(f, "the result is longer than {TASK_BYTES_MAX} bytes"),
            JobError::Terminated => f.write_str("the pool was terminated before the job was done"),
            JobError::Unknown => {
                f.write_str("there is no such job, or its result was given back before")
            }
            JobError::NoProcess(kind) => {
                write!(f, "no process is left to do the job, and no other can be started: {kind}")
            }
            JobError::NotTaken(why) => why.fmt(f),
        }
    }
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ApplyError::Closed => f.write_str("the pool is closed"),
            ApplyError::TooLong => write!(f, "the job is longer than {TASK_BYTES_MAX} bytes"),
            ApplyError::Lock(error) => write!(f, "the jobs' queue can't be used: {error}"),
        }
    }
}

impl Error for JobError {}
impl Error for ApplyError {}
