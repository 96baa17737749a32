//! The bare broadcaster, a program for comparison. One thread with epoll splits lines, copies each
//! line to the other members of the sender's room and makes one send call per client and turn. It
//! has no names, commands, log or limits: it does what every chat server must do and nothing else.
//!
//! The first line of a client is the name of its room; the answer is [`READY`]. It can speak IRC
//! instead. It can also make faults on request, to test whether the load generator finds them.

mod faults;
mod irc;

use faults::Faults;
use irc::Registration;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{MsgFlags, SockaddrStorage, recv, recvfrom, send, sendto};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};

pub use faults::Fault;

/// The answer to a client that has entered its room.
pub const READY: &[u8] = b"ready";
/// The longest datagram. It contains whole lines.
const DATAGRAM_BYTES_MAX: usize = 1_200;

const LISTENER: u64 = u64::MAX;
const DATAGRAMS: u64 = u64::MAX - 1;
const PARENT: u64 = u64::MAX - 2;

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
    /// The position of the last line in `output`, if the whole line is there.
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

/// Serves on free TCP and UDP ports of the loopback until standard input ends. Prints the addresses
/// at the start and the number of faults at the end. With `speaks_irc` it speaks IRC over TCP.
pub fn run(fault: Option<Fault>, speaks_irc: bool) -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    // A longer listen queue than the standard library's.
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
        faults: Faults::new(fault),
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
            // It fails only if the stream is not registered.
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
                // A client leaves with an empty datagram.
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

    /// Delivers a line to all members of the sender's room except the sender.
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

    fn append(&mut self, index: usize, line: &[u8]) {
        let Some(peer) = self.peers[index].as_mut() else { return };
        peer.last_line = Some(peer.output.len());
        peer.output.extend_from_slice(line);
        if !std::mem::replace(&mut peer.is_dirty, true) {
            self.dirty.push(index);
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
                    // If the network has no room for the datagram, it is lost.
                    Ok(sent.unwrap_or(length))
                }
            };
            match (sent, &peer.link) {
                (Ok(sent), _) => drop(peer.output.drain(..sent)),
                (Err(Errno::EAGAIN), Link::Stream(stream)) => {
                    peer.is_blocked = true;
                    let mut event =
                        EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT, index as u64);
                    // It fails only if the stream is not registered.
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

/// How many bytes of `output` form whole lines of at most `max` bytes together, or the first line
/// if it is longer.
fn whole_lines(output: &[u8], max: usize) -> usize {
    let within = &output[..output.len().min(max)];
    let end = memchr::memrchr(b'\n', within).or_else(|| memchr::memchr(b'\n', output));
    end.map_or(output.len(), |end| end + 1)
}
