//! The bare broadcaster, a program for comparison. One thread with epoll splits lines, copies each
//! line to the other members of the sender's room and makes one send per client and turn. It has no
//! names, no commands, no log and no bounds: it does what every chat server must do and nothing
//! else.
//!
//! The first line of a client is the name of its room; the answer is [`READY`]. It can speak IRC
//! instead. It can also make faults on request, to test whether the load generator finds them.

mod irc;

use irc::Registration;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{MsgFlags, SockaddrStorage, recv, recvfrom, send, sendto};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

/// The answer to a client that has entered its room.
pub const READY: &[u8] = b"ready";
/// One of this many deliveries is faulty, if faults were requested.
const FAULT_EVERY: u64 = 997;
/// How long it stands still, if that was requested, and how long after its first delivery.
const STALL: Duration = Duration::from_millis(300);
const STALL_AFTER: Duration = Duration::from_secs(1);
/// The longest datagram, in whole lines.
const DATAGRAM_BYTES_MAX: usize = 1_200;

const LISTENER: u64 = u64::MAX;
const DATAGRAMS: u64 = u64::MAX - 1;
const PARENT: u64 = u64::MAX - 2;

/// The kind of fault that it makes on request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// Leaves a delivery out.
    Lose,
    /// Delivers twice.
    Double,
    /// Exchanges two lines that follow each other in one client's output.
    Swap,
    /// Changes a byte.
    Corrupt,
    /// Delivers to a member of another room, too.
    Stray,
    /// Stands still for 0.3 s, once.
    Stall,
}

struct Peer {
    link: Link,
    room: Option<usize>,
    /// Its registration, in IRC.
    irc: Option<Box<Registration>>,
    /// The beginning of a line.
    unfinished: Vec<u8>,
    output: Vec<u8>,
    is_dirty: bool,
    is_blocked: bool,
    /// Where the last line in `output` begins, if it is there whole.
    last_line: Option<usize>,
}

enum Link {
    Stream(TcpStream),
    Address(SocketAddr),
}

struct Broadcaster {
    epoll: Epoll,
    speaks_irc: bool,
    datagrams: UdpSocket,
    peers: Vec<Option<Peer>>,
    free: Vec<usize>,
    addresses: HashMap<SocketAddr, usize>,
    room_names: HashMap<Vec<u8>, usize>,
    rooms: Vec<Vec<usize>>,
    dirty: Vec<usize>,
    faults: Faults,
}

#[derive(Default)]
struct Faults {
    fault: Option<Fault>,
    first: Option<Instant>,
    deliveries: u64,
    made: u64,
}

impl Faults {
    /// Whether this delivery is one that goes wrong.
    fn is_next(&mut self) -> bool {
        self.deliveries += 1;
        match self.fault {
            None => false,
            Some(Fault::Stall) => {
                self.made == 0
                    && self.first.get_or_insert_with(Instant::now).elapsed() > STALL_AFTER
            }
            Some(_) => self.deliveries.is_multiple_of(FAULT_EVERY),
        }
    }
}

/// Serves on two free ports of the loopback, TCP and UDP, and tells both on standard output, until
/// standard input ends. Then tells how many faults it has made. With `speaks_irc`, that is spoken
/// over TCP.
pub fn run(fault: Option<Fault>, speaks_irc: bool) -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    // Longer than the standard library's.
    socket2::SockRef::from(&listener).listen(4_096)?;
    let datagrams = UdpSocket::bind("127.0.0.1:0")?;
    datagrams.set_nonblocking(true)?;
    println!(
        "listening on tcp {}\nlistening on udp {}",
        listener.local_addr()?,
        datagrams.local_addr()?
    );
    std::io::stdout().flush()?;

    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let stdin = std::io::stdin();
    for (fd, token) in
        [(listener.as_fd(), LISTENER), (datagrams.as_fd(), DATAGRAMS), (stdin.as_fd(), PARENT)]
    {
        epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, token))?;
    }
    let mut broadcaster = Broadcaster {
        epoll,
        speaks_irc,
        datagrams,
        peers: Vec::new(),
        free: Vec::new(),
        addresses: HashMap::new(),
        room_names: HashMap::new(),
        rooms: Vec::new(),
        dirty: Vec::new(),
        faults: Faults { fault, ..Faults::default() },
    };
    broadcaster.serve(&listener)?;
    println!("faults {}", broadcaster.faults.made);
    Ok(())
}

impl Broadcaster {
    fn serve(&mut self, listener: &TcpListener) -> std::io::Result<()> {
        let mut events = [EpollEvent::empty(); 256];
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Ok(count) => count,
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            for event in &events[..count] {
                match event.data() {
                    LISTENER => self.accept(listener)?,
                    DATAGRAMS => self.receive_datagrams(&mut buffer)?,
                    PARENT if std::io::stdin().read(&mut [0])? == 0 => return Ok(()),
                    PARENT => {}
                    index => self.serve_stream(index as usize, event.events(), &mut buffer),
                }
            }
            for index in std::mem::take(&mut self.dirty) {
                self.flush(index);
            }
        }
    }

    fn accept(&mut self, listener: &TcpListener) -> std::io::Result<()> {
        while let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let index = self.insert(Link::Stream(stream));
            if let Some(Peer { link: Link::Stream(stream), .. }) = &self.peers[index] {
                self.epoll.add(stream, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
            }
        }
        Ok(())
    }

    fn insert(&mut self, link: Link) -> usize {
        let index = self.free.pop().unwrap_or_else(|| {
            self.peers.push(None);
            self.peers.len() - 1
        });
        let (unfinished, output) = (Vec::new(), Vec::new());
        self.peers[index] = Some(Peer {
            link,
            room: None,
            irc: None,
            unfinished,
            output,
            is_dirty: false,
            is_blocked: false,
            last_line: None,
        });
        index
    }

    fn serve_stream(&mut self, index: usize, flags: EpollFlags, buffer: &mut [u8]) {
        let Some(Peer { link: Link::Stream(stream), is_blocked, .. }) = self.peers[index].as_mut()
        else {
            return;
        };
        if flags.contains(EpollFlags::EPOLLOUT) {
            *is_blocked = false;
            let mut event = EpollEvent::new(EpollFlags::EPOLLIN, index as u64);
            // Fails only for what isn't registered.
            let _ = self.epoll.modify(&*stream, &mut event);
            self.dirty.push(index);
        }
        match recv(stream.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => self.remove(index),
            Ok(length) => self.handle_bytes(index, &buffer[..length]),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => self.remove(index),
        }
    }

    fn receive_datagrams(&mut self, buffer: &mut [u8]) -> std::io::Result<()> {
        for _ in 0..256 {
            let Ok((length, Some(from))) =
                recvfrom::<SockaddrStorage>(self.datagrams.as_raw_fd(), buffer)
            else {
                break;
            };
            let Some(from) =
                from.as_sockaddr_in().map(|from| SocketAddr::from((from.ip(), from.port())))
            else {
                continue;
            };
            let index = match self.addresses.get(&from) {
                Some(&index) => index,
                None => {
                    let index = self.insert(Link::Address(from));
                    self.addresses.insert(from, index);
                    index
                }
            };
            match length {
                // That is how one leaves.
                0 => self.remove(index),
                _ => self.handle_bytes(index, &buffer[..length]),
            }
        }
        Ok(())
    }

    fn handle_bytes(&mut self, index: usize, bytes: &[u8]) {
        let Some(peer) = self.peers[index].as_mut() else { return };
        let joined;
        let whole = if peer.unfinished.is_empty() {
            bytes
        } else {
            joined = [&std::mem::take(&mut peer.unfinished), bytes].concat();
            &joined
        };
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', whole) {
            self.handle_line(index, &whole[start..=end]);
            start = end + 1;
        }
        if let Some(peer) = self.peers[index].as_mut() {
            peer.unfinished.extend_from_slice(&whole[start..]);
        }
    }

    fn handle_line(&mut self, index: usize, line: &[u8]) {
        let Some(peer) = self.peers[index].as_mut() else { return };
        if self.speaks_irc {
            self.handle_irc(index, line);
        } else if peer.room.is_some() {
            self.broadcast(index, line);
        } else {
            self.enter(index, line);
            self.append(index, READY);
            self.append(index, b"\n");
        }
    }

    /// To everyone in somebody's room but themselves.
    fn broadcast(&mut self, index: usize, line: &[u8]) {
        let Some(room) = self.peers[index].as_ref().and_then(|peer| peer.room) else { return };
        for i in 0..self.rooms[room].len() {
            let member = self.rooms[room][i];
            if member != index {
                self.deliver(member, line);
            }
        }
    }

    fn enter(&mut self, index: usize, name: &[u8]) {
        let Some(peer) = self.peers[index].as_mut() else { return };
        let rooms = &mut self.rooms;
        let room = *self.room_names.entry(name.to_vec()).or_insert_with(|| {
            rooms.push(Vec::new());
            rooms.len() - 1
        });
        if let Some(left) = peer.room.replace(room) {
            rooms[left].retain(|&member| member != index);
        }
        rooms[room].push(index);
    }

    fn deliver(&mut self, index: usize, line: &[u8]) {
        if !self.faults.is_next() {
            return self.append(index, line);
        }
        self.faults.made += 1;
        match self.faults.fault {
            Some(Fault::Lose) => {}
            Some(Fault::Corrupt) => {
                let mut line = line.to_vec();
                let middle = line.len() / 2;
                line[middle] ^= 1;
                self.append(index, &line);
            }
            Some(Fault::Swap) => self.append_before_last(index, line),
            Some(Fault::Double) => {
                self.append(index, line);
                self.append(index, line);
            }
            Some(Fault::Stray) => {
                self.append(index, line);
                match self.stranger_to(index) {
                    Some(stranger) => self.append(stranger, line),
                    None => self.faults.made -= 1,
                }
            }
            Some(Fault::Stall) => {
                std::thread::sleep(STALL);
                self.append(index, line);
            }
            None => self.append(index, line),
        }
    }

    /// Somebody in another room.
    fn stranger_to(&self, index: usize) -> Option<usize> {
        let room = self.peers[index].as_ref()?.room?;
        (1..self.rooms.len())
            .find_map(|i| self.rooms[(room + i) % self.rooms.len()].first().copied())
    }

    fn append(&mut self, index: usize, line: &[u8]) {
        let Some(peer) = self.peers[index].as_mut() else { return };
        peer.last_line = Some(peer.output.len());
        peer.output.extend_from_slice(line);
        if !std::mem::replace(&mut peer.is_dirty, true) {
            self.dirty.push(index);
        }
    }

    /// Puts a line before the last one that waits. With none waiting it is no fault, and not
    /// counted as one; the next delivery makes up for it.
    fn append_before_last(&mut self, index: usize, line: &[u8]) {
        let waiting =
            self.peers[index].as_mut().and_then(|peer| Some((peer.last_line?, &mut peer.output)));
        match waiting {
            Some((at, output)) => drop(output.splice(at..at, line.iter().copied())),
            None => {
                self.faults.made -= 1;
                self.faults.deliveries -= 1;
                self.append(index, line);
            }
        }
    }

    fn flush(&mut self, index: usize) {
        let Some(peer) = self.peers[index].as_mut() else { return };
        (peer.is_dirty, peer.last_line) = (false, None);
        while !peer.is_blocked && !peer.output.is_empty() {
            let sent = match &peer.link {
                Link::Stream(stream) => send(
                    stream.as_raw_fd(),
                    &peer.output,
                    MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
                ),
                Link::Address(address) => {
                    let length = whole_lines(&peer.output, DATAGRAM_BYTES_MAX);
                    let sent = sendto(
                        self.datagrams.as_raw_fd(),
                        &peer.output[..length],
                        &SockaddrStorage::from(*address),
                        MsgFlags::MSG_DONTWAIT,
                    );
                    // What the network has no room for is lost.
                    Ok(sent.unwrap_or(length))
                }
            };
            match (sent, &peer.link) {
                (Ok(sent), _) => drop(peer.output.drain(..sent)),
                (Err(Errno::EAGAIN), Link::Stream(stream)) => {
                    peer.is_blocked = true;
                    let mut event =
                        EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT, index as u64);
                    // Fails only for what isn't registered.
                    let _ = self.epoll.modify(stream, &mut event);
                }
                (Err(_), _) => return self.remove(index),
            }
        }
    }

    fn remove(&mut self, index: usize) {
        let Some(peer) = self.peers[index].take() else { return };
        if let Link::Address(address) = peer.link {
            self.addresses.remove(&address);
        }
        if let Some(room) = peer.room {
            self.rooms[room].retain(|&member| member != index);
        }
        self.dirty.retain(|&other| other != index);
        self.free.push(index);
    }
}

/// How many bytes of `output` are whole lines of together at most `max` bytes; the first line in
/// any case.
fn whole_lines(output: &[u8], max: usize) -> usize {
    let within = &output[..output.len().min(max)];
    let end = memchr::memrchr(b'\n', within).or_else(|| memchr::memchr(b'\n', output));
    end.map_or(output.len(), |end| end + 1)
}
