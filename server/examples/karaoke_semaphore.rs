//! Ten guests and four rooms: a counting semaphore admits as many guests as there are rooms, and
//! the others wait.
//!
//! In the server: `admission.rs` counts the clients that are admitted. The supervisor and the
//! worker that has the UDP sessions share this count.

mod stage;

use forkchat_server::ipc::process::{End, Process};
use forkchat_server::ipc::semaphore::Semaphore;
use forkchat_server::ipc::value::{Array, Value};
use forkchat_server::sys::memory::map_shared;
use stage::{
    Attempt, Failure, Lesson, ended, exit_code, nap, part, patience, say, shown, slowed,
    wait_until, went_well,
};
use std::io;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const LESSON: Lesson = Lesson {
    about: ["A karaoke house: a counting semaphore", "卡拉 OK 包厢：计数信号量"],
    watch_for: &[
        ["never more than four guests are inside", "屋里从来不超过四位客人"],
        ["a guest comes in when another one leaves", "有客人离开，下一位才能进去"],
        [
            "the room of a guest who is killed stays taken until the parent gives it back",
            "客人被杀死后，他的包厢仍被占用，直到父进程替他归还",
        ],
        [
            "a POSIX semaphore does not know which process holds its units: there no process could tell whether the dead guest had a room",
            "POSIX 信号量不记录名额被哪个进程占用：换成它，就无从得知死去的客人是否占着包厢",
        ],
    ],
};
const ROOMS: u32 = 4;
const GUESTS: usize = 10;
const SONG_MS: u64 = 80;

fn main() -> ExitCode {
    stage::play(&LESSON, |()| {
        let rooms = map_shared::<Semaphore<GUESTS>>("example-rooms").cannot("map the rooms")?;
        rooms.init(ROOMS).cannot("make the rooms")?;
        evening(rooms)?;
        accident(rooms)
    })
}

fn evening(rooms: &'static Semaphore<GUESTS>) -> Result<(), Failure> {
    part!("{GUESTS} guests, {ROOMS} rooms", "{GUESTS} 位客人，{ROOMS} 间包厢");
    let counts = Array::<AtomicU32>::map("example-counts", 2).cannot("map the counts")?;
    let (inside, most) = (&counts[0], &counts[1]);
    let sing = |guest| {
        let came = Instant::now();
        enter(rooms, guest)?;
        // Counted between acquire and release. So the count is never higher than the number of
        // rooms that are taken.
        let now = inside.fetch_add(1, Ordering::Relaxed) + 1;
        most.fetch_max(now, Ordering::Relaxed);
        let waited = came.elapsed().as_millis();
        say!(
            "guest {guest} waited {waited} ms and sings; guests inside: {now}",
            "客人 {guest} 等了 {waited} 毫秒，开唱；屋里有 {now} 位客人"
        );
        nap(SONG_MS);
        inside.fetch_sub(1, Ordering::Relaxed);
        say!("guest {guest} leaves", "客人 {guest} 离开");
        rooms.release(guest);
        Ok(())
    };
    let began = Instant::now();
    let guests: io::Result<Vec<_>> =
        (0..GUESTS).map(|guest| Process::start(|| exit_code(sing(guest)))).collect();
    let have_sung = guests
        .cannot("start the guests")?
        .iter_mut()
        .map(Process::join)
        .filter(|&end| end == End::Exited(0))
        .count();
    shown!(
        "{have_sung} guests sang in {} ms, at most {} at a time; rooms free: {}",
        "{have_sung} 位客人唱完，共 {} 毫秒，同时最多 {} 位；空包厢：{}",
        began.elapsed().as_millis(),
        most.load(Ordering::Relaxed),
        rooms.available()
    );
    Ok(())
}

fn accident(rooms: &'static Semaphore<GUESTS>) -> Result<(), Failure> {
    part!("a guest is killed inside", "一位客人在包厢里被杀死");
    let (is_waiting, is_closing) =
        (Value::map("example-is-waiting")?, Value::map("example-is-closing")?);
    let stay = |guest| {
        if !rooms.acquire(guest, slowed(Duration::from_millis(100))).cannot("acquire a room")? {
            say!("guest {guest} finds no room free and waits", "客人 {guest} 发现没有空包厢，等待");
            is_waiting.set(1);
            enter(rooms, guest)?;
        }
        say!("guest {guest} has a room until the house closes", "客人 {guest} 占用包厢，直到打烊");
        wait_until("the house to close", || is_closing.get() == 1)?;
        rooms.release(guest);
        Ok(())
    };
    let start =
        |guest| Process::start(|| exit_code(stay(guest))).cannot(format!("start guest {guest}"));
    let mut guests = (0..ROOMS as usize).map(start).collect::<Result<Vec<_>, _>>()?;
    wait_until("all rooms to be taken", || rooms.available() == 0)?;
    guests.push(start(4)?);
    wait_until("guest 4 to wait", || is_waiting.get() == 1)?;

    guests[2].kill();
    let end = ended(guests[2].join());
    nap(100);
    let free_after_the_death = rooms.available();
    say!(
        "guest 2 {end}; rooms free: {free_after_the_death}, since its room was not given back",
        "客人 2 {end}；空包厢：{free_after_the_death}，因为他的包厢没有归还"
    );
    // Said before it is done: guest 4 comes in, and says so, at once.
    say!(
        "the parent gives back what guest 2 held: {}",
        "父进程归还客人 2 占用的名额：{}",
        rooms.held_by(2)
    );
    let given_back = std::iter::from_fn(|| rooms.release(2).then_some(())).count();
    wait_until("guest 4 to have it", || rooms.held_by(4) == 1)?;
    is_closing.set(1);
    for guest in [0, 1, 3, 4] {
        went_well(format!("guest {guest}"), guests[guest].join())?;
    }
    shown!(
        "after the death {free_after_the_death} rooms were free; the parent gave {given_back} back, and guest 4 got it; rooms free at the end: {}",
        "客人死后空包厢 {free_after_the_death} 间；父进程归还 {given_back} 间，客人 4 得到了它；最后空包厢 {} 间",
        rooms.available()
    );
    Ok(())
}

fn enter(rooms: &'static Semaphore<GUESTS>, guest: usize) -> Result<(), Failure> {
    let has_room = rooms.acquire(guest, patience()).cannot("acquire a room")?;
    if has_room { Ok(()) } else { Err(Failure(format!("no room came free for guest {guest}"))) }
}
