//! The only place for `unsafe`: what neither the standard library nor a safe crate offers of Linux.
//!
//! Every function here is safe to call from everywhere else; each `unsafe` block says why it is
//! sound. The rest of the crate is compiled with `unsafe` denied.
//!
//! | module | what it wraps |
//! |---|---|
//! | [`memory`] | `memfd_create` + `mmap`: memory that processes share, by fork or by a descriptor |
//! | [`robust_mutex`] | `pthread_mutex_t`, process-shared and robust |
//! | [`futex`] | waiting for a shared word to change |
//! | [`process`] | `fork`, a child's descriptors, its end |
//! | `descriptors` | closing the descriptors that a child must not have |
//! | [`signals`] | what this process does with signals |
//! | [`refused`] | which calls are refused on this machine and replaced |
//! | [`threads`] | whether the system gives threads |
//! | [`scheduling`] | nice values and scheduling policies |
//! | [`limits`] | another process's resource limits |
//! | [`socket`] | consuming without copying, low-water mark, descriptors in messages, a datagram's own address |
//! | [`tcp_position`] | how many bytes were taken from a TCP connection and handed over to it |
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
