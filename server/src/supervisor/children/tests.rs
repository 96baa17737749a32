use super::super::child::{RECOVERY_TIME, backoff};
use super::*;
use forkchat_common::endpoint::{Listener, Origin};

const FIRST: Slot = Slot::FIRST_WORKER;

fn children(workers: u16, own_workers: usize, rejected_max: usize) -> Children {
    Children::new(&Slots { workers, own_workers }, rejected_max)
}

#[test]
fn the_backoff_doubles_up_to_a_second() {
    let millis: Vec<u128> =
        [1, 2, 3, 7, 8, 1_000].map(|crashes| backoff(crashes).as_millis()).into();
    assert_eq!(millis, [10, 20, 40, 640, 1_000, 1_000]);
}

#[test]
fn settings_from_outside_are_dropped_after_several_failures_in_a_row() {
    let mut children = children(1, 0, 0);
    let set = || Some(Box::new(Settings::default()));
    let child = children.get(FIRST);
    assert_eq!([(); 5].map(|()| child.count_failure()), [const { None }; 5], "nothing was set");
    child.carried_over = set();
    assert_eq!((child.count_failure(), child.count_failure()), (None, None));
    // It lived long enough to count as recovered.
    child.started_at -= 2 * RECOVERY_TIME;
    assert_eq!(child.count_failure(), None);
    child.started_at = Instant::now();
    assert_eq!(
        (child.count_failure(), child.count_failure(), child.count_failure()),
        (None, set(), None)
    );
}

#[test]
fn settings_on_a_worker_with_its_own_connection_end_with_the_connection() {
    let mut children = children(1, 1, 0);
    let slot = children.take_vacant().unwrap();
    children.get(slot).carried_over = Some(Box::default());
    children.vacate(slot);
    assert_eq!((children.take_vacant(), children.carried_over(slot)), (Some(slot), None));
}

#[test]
fn a_connection_goes_to_the_running_worker_with_the_fewest_connections() {
    let mut children = children(3, 0, 0);
    let mut connections = Connections::new(9, 4);
    children.get(Slot::at(2)).pid = Some(Pid::from_raw(1));
    children.get(Slot::at(3)).pid = Some(Pid::from_raw(1));
    assert_eq!(children.least_loaded_worker(&connections), Slot::at(2));
    let (socket, _) = std::os::unix::net::UnixStream::pair().unwrap();
    connections.insert(super::super::connections::HeldConnection::new(
        socket.into(),
        Origin { peer: ([127, 0, 0, 1], 1).into(), listener: Listener::default() },
        Slot::at(2),
    ));
    assert_eq!(children.least_loaded_worker(&connections), Slot::at(3));
}

#[test]
fn rejections_wait_up_to_a_limit_and_the_next_is_returned() {
    let mut children = children(1, 0, 2);
    let socket = || OwnedFd::from(std::os::unix::net::UnixStream::pair().unwrap().0);
    let send = |children: &mut Children| {
        children
            .queue_rejection(FIRST, ToWorker::Reject { reason: String::new() }, socket())
            .is_ok()
    };
    assert_eq!([(); 3].map(|()| send(&mut children)), [true, true, false]);
    let (ours, _theirs) = crate::ipc::queue::pair().unwrap();
    children.get(FIRST).begin(Pid::from_raw(1), Some(ours));
    children.send_backlog(&Connections::new(1, 2));
    assert!(!children.has_backlog() && send(&mut children));
}
