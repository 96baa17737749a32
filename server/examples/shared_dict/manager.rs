//! The manager: a process that owns a map and a list. The others have a client each, through which
//! they send requests.

use crate::stage::{Attempt, Failure, patience, say};
use forkchat_server::ipc::queue::{QueueEnd, Received};
use nix::poll::{PollFd, PollFlags, poll};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::fd::AsFd;

/// What a client asks for. The answer to all but `Get` and `All` is `Done`.
#[derive(Serialize, Deserialize)]
pub enum Request {
    /// The value of a key; 0 if there is none.
    Get(String),
    Set(String, u64),
    /// Adds to the value of a key. The manager handles one request after the other, so no update
    /// comes between its reading and its writing.
    Add(String, u64),
    Append(u64),
    All,
}

#[derive(Serialize, Deserialize)]
pub enum Answer {
    Done,
    Number(u64),
    All(Owned),
}

/// What the manager owns.
#[derive(Default, Clone, Serialize, Deserialize)]
pub struct Owned {
    pub map: BTreeMap<String, u64>,
    pub list: Vec<u64>,
}

/// A client's end of its connection to the manager.
pub struct Client(pub QueueEnd<Request, Answer>);

impl Client {
    /// Sends a request and waits for the answer.
    pub fn ask(&self, request: &Request) -> Result<Answer, Failure> {
        self.0.send(request, None).cannot("send a request to the manager")?;
        let mut answers = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        poll(&mut answers, u16::try_from(patience().as_millis()).unwrap_or(u16::MAX))
            .cannot("wait for the manager's answer")?;
        match self.0.receive() {
            Received::Message(answer, _) => Ok(answer),
            Received::Closed => Err(Failure("the manager has ended".to_owned())),
            Received::Empty | Received::Garbled => {
                Err(Failure("no answer from the manager".to_owned()))
            }
        }
    }

    pub fn get(&self, key: &str) -> Result<u64, Failure> {
        match self.ask(&Request::Get(key.to_owned()))? {
            Answer::Number(number) => Ok(number),
            _ => Err(Failure("the manager's answer to Get is no number".to_owned())),
        }
    }

    /// A copy of the map and of the list.
    pub fn all(&self) -> Result<Owned, Failure> {
        match self.ask(&Request::All)? {
            Answer::All(owned) => Ok(owned),
            _ => Err(Failure("the manager's answer to All is something else".to_owned())),
        }
    }
}

/// What the manager does: it answers one request after the other, until no client is left.
pub fn manage(mut clients: Vec<QueueEnd<Answer, Request>>) -> Result<(), Failure> {
    let (mut owned, mut requests, mut looks) = (Owned::default(), 0, 0);
    while !clients.is_empty() {
        let mut ends: Vec<_> =
            clients.iter().map(|client| PollFd::new(client.as_fd(), PollFlags::POLLIN)).collect();
        if poll(&mut ends, u16::try_from(patience().as_millis()).unwrap_or(u16::MAX))
            .cannot("wait for requests")?
            == 0
        {
            return Err(Failure("no client sent a request".to_owned()));
        }
        clients.retain(|client| match client.receive() {
            Received::Message(request, _) => {
                requests += 1;
                looks += i32::from(matches!(request, Request::All));
                client.send(&handle(&mut owned, request), None).is_ok()
            }
            Received::Closed => false,
            Received::Empty | Received::Garbled => true,
        });
    }
    say!(
        "the manager handled {requests} requests ({}, and the parent's look), and no client is left",
        "管理者进程处理了 {requests} 个请求（{} 个，加上父进程的查看），已没有客户端",
        requests - looks
    );
    Ok(())
}

fn handle(owned: &mut Owned, request: Request) -> Answer {
    match request {
        Request::Get(key) => return Answer::Number(owned.map.get(&key).copied().unwrap_or(0)),
        Request::All => return Answer::All(owned.clone()),
        Request::Set(key, number) => _ = owned.map.insert(key, number),
        Request::Add(key, number) => *owned.map.entry(key).or_default() += number,
        Request::Append(number) => owned.list.push(number),
    }
    Answer::Done
}
