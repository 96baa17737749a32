//! The only module with `unsafe` code: the Linux functions that neither the standard library nor a
//! safe crate offers.
//!
//! Every function here is safe to call; each `unsafe` block gives the reason why it is sound. The
//! rest of the crate is compiled with `unsafe` denied.
//!
//! | module | what it wraps |
//! |---|---|
//! | [`memory`] | `memfd_create` + `mmap`: memory that processes share, by fork or with a descriptor |
//! | [`robust_mutex`] | `pthread_mutex_t`, process-shared and robust |
//! | [`futex`] | waiting for a shared word to change |
//! | [`process`] | `fork`, a child's descriptors, waiting for a process's end |
//! | `descriptors` | closing the descriptors that a child must not have |
//! | [`signals`] | this process's signal actions and signal mask |
//! | [`refused`] | which system calls this machine refuses and forkchat replaces |
//! | [`threads`] | how many threads there are, and whether more can be started |
//! | [`scheduling`] | nice values and scheduling policies |
//! | [`limits`] | another process's resource limits |
//! | [`socket`] | consuming without copying, low-water mark, descriptors in messages, a datagram's local address |
//! | [`tcp_position`] | how many bytes were read from and written to a TCP connection |
#![allow(unsafe_code)]

mod descriptors;
pub mod futex;
pub mod limits;
pub mod memory;
pub mod process;
pub mod refused;
pub mod robust_mutex;
pub mod scheduling;
pub mod signals;
pub mod socket;
pub mod tcp_position;
pub mod threads;
