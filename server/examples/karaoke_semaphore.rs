//! Ten guests and four rooms: a counting semaphore lets in as many as there is room for, and the others wait.
//!
//! Watch for: that never more than four are inside, and that they come in as others leave; that the room of a guest who is killed inside stays
//! taken, until whoever reaps the guest gives it back. (A POSIX semaphore forgets who has its units, so there nobody could.)
//!
//! At work in the server: `admission.rs`: the supervisor and the worker that keeps the UDP sessions let in so many clients together.

mod stage;

use forkchat_server::ipc::process::{End, Process};
use forkchat_server::ipc::semaphore::Semaphore;
use forkchat_server::ipc::value::{Array, Value};
use forkchat_server::sys::memory::map_shared;
use stage::{Attempt, Failure, PATIENCE, exit_code, say, wait_until};
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

const ROOMS: u32 = 4;
const GUESTS: usize = 10;
const SONG: Duration = Duration::from_millis(50);
/// So long it may take to see whether there is a room.
const MOMENT: Duration = Duration::from_millis(100);

fn main() -> Result<(), Failure> {
    let rooms = map_shared::<Semaphore<GUESTS>>("example-rooms").cannot("map the rooms")?;
    rooms.init(ROOMS).cannot("make the rooms")?;
    evening(rooms).cannot("show an evening")?;
    accident(rooms).cannot("show an accident")
}

fn evening(rooms: &'static Semaphore<GUESTS>) -> io::Result<()> {
    say!("{ROOMS} rooms, {GUESTS} guests");
    let counts = Array::<AtomicU32>::map("example-counts", 2)?;
    let (inside, most) = (&counts[0], &counts[1]);
    let sing = |guest| {
        enter(rooms, guest)?;
        // Counted between taking and giving back, so those counted at a time are never more than those who have a room.
        let now = inside.fetch_add(1, Ordering::Relaxed) + 1;
        most.fetch_max(now, Ordering::Relaxed);
        say!("guest {guest} sings; inside are now {now}");
        sleep(SONG);
        inside.fetch_sub(1, Ordering::Relaxed);
        rooms.release(guest);
        Ok(())
    };
    let guests: io::Result<Vec<_>> = (0..GUESTS).map(|guest| Process::start(|| exit_code(sing(guest)))).collect();
    let happy = guests?.iter_mut().map(Process::join).filter(|&end| end == End::Exited(0)).count();
    say!("{happy} guests have sung; inside were at most {}; rooms free: {}", most.load(Ordering::Relaxed), rooms.available());
    Ok(())
}

fn accident(rooms: &'static Semaphore<GUESTS>) -> io::Result<()> {
    let (is_waiting, is_closing) = (Value::map("example-is-waiting")?, Value::map("example-is-closing")?);
    let stay = |guest| {
        if !rooms.acquire(guest, MOMENT).map_err(io::Error::other)? {
            say!("guest {guest} finds no room free and waits");
            is_waiting.set(1);
            enter(rooms, guest)?;
        }
        say!("guest {guest} sings until the house closes");
        wait_until("the house to close", || is_closing.get() == 1)?;
        rooms.release(guest);
        Ok(())
    };
    let start = |guest| Process::start(|| exit_code(stay(guest)));
    let mut guests = (0..ROOMS as usize).map(start).collect::<io::Result<Vec<_>>>()?;
    wait_until("all rooms to be taken", || rooms.available() == 0)?;
    guests.push(start(4)?);
    wait_until("guest 4 to wait", || is_waiting.get() == 1)?;

    guests[2].kill();
    say!("guest 2: {}; rooms free: {}, for a room that nobody gives back stays taken", guests[2].join(), rooms.available());
    say!("the host has given back what guest 2 had: {}", rooms.release_all_of(2));
    wait_until("guest 4 to have it", || rooms.held_by(4) == 1)?;
    say!("guest 4 has a room; rooms free: {}", rooms.available());
    is_closing.set(1);
    guests.iter_mut().enumerate().for_each(|(number, guest)| say!("guest {number}: {}", guest.join()));
    say!("rooms free: {}", rooms.available());
    Ok(())
}

fn enter(rooms: &'static Semaphore<GUESTS>, guest: usize) -> io::Result<()> {
    match rooms.acquire(guest, PATIENCE).map_err(io::Error::other)? {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no room came free for guest {guest}"))),
    }
}
