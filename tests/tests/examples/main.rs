//! Runs each example of a building block as a user would. It shows what it says it shows, ends by
//! itself, and leaves nothing behind.

mod ack_server;
mod bare_fork;
mod clock_process;
mod command_line;
mod cpu_or_io;
mod daemon;
mod echo_per_process;
mod interrupted;
mod karaoke_semaphore;
mod language;
mod pipe_talk;
mod process_group;
mod process_pool;
mod producer_consumer;
mod python;
mod queue_of_threads;
mod run_program;
mod scheduling;
mod separate_memory;
mod served;
mod shared_dict;
mod start_and_join;
mod thread_pool;
mod threads_at_the_end;
mod ticket_lock;
mod timeouts;
mod traffic_light_event;
mod two_locks;
mod udp_talk;
mod zombie_and_orphan;
